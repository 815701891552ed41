"""What stands between this machine and the CUDA engine: driver, GPUs, compiler. One line for each."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

CUDA, DRIVER = 13000, 580
"""The CUDA that the engine's torch is built for, as the driver counts versions, and the first driver that runs it."""
CAPABILITY = (8, 0)
"""Of the first GPUs that compute in bf16: Ampere."""


class Gpu(NamedTuple):
    name: str
    capability: tuple[int, int]


class Driver(NamedTuple):
    version: str
    cuda: int
    """Newest CUDA that it runs: 13000 is 13.0."""
    gpus: tuple[Gpu, ...]


def driver(nvml=None) -> Driver | str:
    """What NVML tells, or why it tells nothing. nvml: the module pynvml, or what answers like it."""
    if nvml is None:
        import pynvml as nvml
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        gpus = tuple(
            Gpu(nvml.nvmlDeviceGetName(gpu), tuple(nvml.nvmlDeviceGetCudaComputeCapability(gpu))) for gpu in handles
        )
        return Driver(nvml.nvmlSystemGetDriverVersion(), nvml.nvmlSystemGetCudaDriverVersion(), gpus)
    except nvml.NVMLError as error:
        return str(error)


def problems(found: Driver | str, nvcc: Path | None) -> Iterator[str]:
    """What does not fit, and what to do."""
    newer = f"install NVIDIA's driver {DRIVER} or newer"
    if isinstance(found, str):
        yield f"no NVIDIA GPU answers here ({found}): {newer}"
        return
    if not found.gpus:
        yield "the NVIDIA driver finds no GPU: see whether `nvidia-smi` lists one"
    if found.cuda < CUDA:
        yield f"driver {found.version} runs CUDA {_dotted(found.cuda)}, the engine needs {_dotted(CUDA)}: {newer}"
    for gpu in found.gpus:
        if gpu.capability < CAPABILITY:
            has, needs = (".".join(map(str, one)) for one in (gpu.capability, CAPABILITY))
            yield f"{gpu.name} has compute capability {has}, bf16 training needs {needs}: use an Ampere GPU or a newer one"
    if nvcc is None:
        yield "DeepSpeed compiles its optimizer in the first run, and there is no nvcc: install CUDA 13's, or set CUDA_HOME"


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def compiler(environ: Mapping[str, str] = os.environ) -> Path | None:
    """nvcc, where torch's extension builder looks for it."""
    homes = [environ.get("CUDA_HOME") or environ.get("CUDA_PATH"), "/usr/local/cuda"]
    found = [Path(home, "bin", "nvcc") for home in homes if home]
    on_path = shutil.which("nvcc", path=environ.get("PATH"))
    return next((path for path in [*found, *([Path(on_path)] if on_path else [])] if path.is_file()), None)
