"""Products of bfloat16 matrices on a CPU without AVX-512, as most laptops' are.

oneDNN has none for such a CPU, and torch falls back to loops that take 5 to 50 times as long as the same product in fp32.
These take the operands to fp32 and round the result once, which is what oneDNN does elsewhere: nothing is less exact.
"""

import warnings
from collections.abc import Callable
from types import ModuleType

ROUNDED = {
    "mm": 1, "addmm": 1, "bmm": 1, "baddbmm": 1,
    "_scaled_dot_product_flash_attention_for_cpu": 1, "_scaled_dot_product_flash_attention_for_cpu_backward": 3,
}  # fmt: skip
"""torch's operator -> how many of its results, from the first on, are bfloat16 where its operands are."""

installed = []
"""torch's library of these kernels: they go when it does."""


def install_if_needed(torch: ModuleType) -> None:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        install(torch)


def install(torch: ModuleType) -> None:
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators")  # that a kernel takes another's place
        for name, rounded in ROUNDED.items():
            kernel = torch.library.get_kernel(f"aten::{name}", "CPU")
            library.impl(name, _in_fp32(torch, kernel.call_boxed, rounded), "CPU", with_keyset=True)
    installed.append(library)


def _in_fp32(torch: ModuleType, kernel: Callable, rounded: int) -> Callable:
    def wide(value):
        return value.float() if isinstance(value, torch.Tensor) else value

    def compute(keys, *values, **named):
        if values[0].dtype is not torch.bfloat16:
            return kernel(keys, *values, **named)
        found = kernel(keys, *map(wide, values), **{name: wide(value) for name, value in named.items()})
        if isinstance(found, torch.Tensor):
            return found.bfloat16()
        return *(one.bfloat16() for one in found[:rounded]), *found[rounded:]

    return compute
