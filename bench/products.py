"""What products of bfloat16 cost on this CPU: `.engine/cpu/bin/python bench/products.py`. Prints one table.

Forward and backward, as torch computes them, and as the shim's kernels do, which serve where the CPU has no AVX-512.
The two take turns, each in a process of its own: a kernel that took another's place stays.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

SHIM = Path(__file__).resolve().parent.parent / "launcher" / "shim"
ROUNDS, TIMES = 3, 10


def cases() -> dict:
    import torch
    from torch.nn.functional import linear, scaled_dot_product_attention

    def attention(q, k, v):
        return scaled_dot_product_attention(q, k, v, is_causal=True)

    return {
        "demo, feed-forward: 2048 tokens, 128 to 256": (linear, (2048, 128), (256, 128)),
        "demo, words: 2048 tokens, 128 to 1280": (linear, (2048, 128), (1280, 128)),
        "demo, attention: 8 rows of 4 heads, 500 tokens": (attention, *[(8, 4, 500, 32)] * 3),
        "a model of 0.5B, feed-forward: 512 tokens, 896 to 4864": (linear, (512, 896), (4864, 896)),
        "in the demo model's optimizer: 128 by 256 by 128": (torch.matmul, (128, 256), (256, 128)),
    }


def timed(compute, *shapes: tuple[int, ...]) -> float:
    """Milliseconds of one forward and backward, the median of some."""
    import torch

    operands = [torch.randn(shape, dtype=torch.bfloat16).requires_grad_() for shape in shapes]
    outcome = torch.randn_like(compute(*operands))
    took = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        compute(*operands).backward(outcome)
        took.append(time.perf_counter() - begun)
    return 1000 * statistics.median(took)


def worker(kind: str) -> None:
    import torch

    if kind == "shim":
        sys.path.insert(0, str(SHIM))
        import bf16_products

        bf16_products.install(torch)
    print(json.dumps({name: timed(*case) for name, case in cases().items()}))


def main() -> None:
    found = {"torch": [], "shim": []}
    for _ in range(ROUNDS):
        for kind, rounds in found.items():
            ran = subprocess.run([sys.executable, __file__, kind], stdout=subprocess.PIPE, check=True)
            rounds.append(json.loads(ran.stdout))
    print(f"{'what':56} {'torch ms':>9} {'shim ms':>9} {'times':>9}")
    for name in found["torch"][0]:
        plain, ours = (statistics.median(one[name] for one in found[kind]) for kind in ("torch", "shim"))
        print(f"{name:56} {plain:9.2f} {ours:9.2f} {plain / ours:9.1f}")


if __name__ == "__main__":
    worker(sys.argv[1]) if sys.argv[1:] else main()
