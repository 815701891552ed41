"""What gradients an update is made of, if DeepSpeed goes backward twice before it, as in OpenRLHF's dynamic batches.

    PYTHONPATH=launcher/shim:launcher/flash_attn_stub .engine/cpu/bin/python bench/dynamic_batches.py

OpenRLHF tells DeepSpeed then that there is nothing to accumulate, and steps after the last of several backward passes.
Norms of the gradients: of both micro-batches at once, in two passes, and of the second alone.
"""

import os
import socket
import subprocess
import sys

WAYS = ("at once", "in two passes", "the second alone")


def norm(stage: int, way: str) -> float:
    import deepspeed
    import torch
    from openrlhf.utils.deepspeed.deepspeed_utils import get_optimizer_grouped_parameters, get_train_ds_config

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    deepspeed.init_distributed("gloo")
    torch.manual_seed(0)
    model = torch.nn.Sequential(*[torch.nn.Linear(16, 16) for _ in range(3)])
    groups = get_optimizer_grouped_parameters(model, 0.01)
    adam = {"type": "Adam", "params": {"lr": 1e-3, "torch_adam": True}}
    config = get_train_ds_config(False, adam_offload=False, stage=stage, optim_config=adam)
    config |= {"train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 1}
    engine, *_ = deepspeed.initialize(model=model, model_parameters=groups, config=config)
    first, second = torch.randn(4, 16, dtype=torch.bfloat16), 3 * torch.randn(4, 16, dtype=torch.bfloat16)

    def loss(batch):
        return engine(batch).float().square().sum() / 10

    if way == "at once":
        engine.backward(loss(first) + loss(second))
    else:
        if way == "in two passes":
            engine.backward(loss(first))
        engine.backward(loss(second))
    engine.step()
    return float(engine.get_global_grad_norm())


def main() -> None:
    if len(sys.argv) == 3:
        print("norm", norm(int(sys.argv[1]), sys.argv[2]))
        return
    print("ZeRO stage", *WAYS, sep="\t")
    for stage in (1, 2, 3):
        ran = [
            subprocess.run([sys.executable, __file__, str(stage), way], capture_output=True, text=True, check=True)
            for way in WAYS
        ]
        print(stage, *(f"{float(one.stdout.split()[-1]):.4f}" for one in ran), sep="\t")


if __name__ == "__main__":
    main()
