"""Stands in for flash-attn, which has no wheel on the package index and no CPU build.

OpenRLHF imports the names of `bert_padding` and `utils.distributed` in every process, and vLLM the one of
`ops.triton.rotary` on a GPU; they are called only with --ds.packing_samples or flash attention. There is no
`ops.triton.cross_entropy`: when that import fails, OpenRLHF uses its own.
"""

from typing import NoReturn


def needs_flash_attn(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("flash-attn is not installed: use --ds.attn_implementation sdpa, without --ds.packing_samples")
