"""What a run's processes hold in memory, by their role in the job."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

# Beginning of a Ray process's title -> role. Anything else of the job is "other".
ROLES = {
    "ray::PolicyModelActor": "policy",
    "ray::ReferenceModelActor": "reference",
    "ray::RolloutRayActor": "rollout",
    "VLLM::": "rollout",
    "ray::": "ray",
    "raylet": "ray",
    "gcs_server": "ray",
}
MB = 1024 * 1024


class Held(NamedTuple):
    """One process. `mb` is PSS on the CPU (shared pages counted in parts), device memory on a GPU."""

    pid: int
    name: str
    role: str
    mb: float


def on_cpu(processes: list[psutil.Process]) -> list[Held]:
    """PSS per process. A process that ended meanwhile is left out."""
    held = []
    for process in processes:
        with suppress(OSError, psutil.Error, StopIteration):
            held.append(Held(process.pid, title(process), role(title(process)), pss_mb(process.pid)))
    return held


def on_gpu(processes: list[psutil.Process]) -> list[Held]:
    """Device memory per process, over all GPUs, as NVML tells it."""
    import pynvml

    pynvml.nvmlInit()
    used: dict[int, float] = {}
    for index in range(pynvml.nvmlDeviceGetCount()):
        device = pynvml.nvmlDeviceGetHandleByIndex(index)
        for user in pynvml.nvmlDeviceGetComputeRunningProcesses(device):
            used[user.pid] = used.get(user.pid, 0.0) + (user.usedGpuMemory or 0) / MB
    held = []
    for process in processes:
        with suppress(psutil.Error):
            if process.pid in used:
                held.append(Held(process.pid, title(process), role(title(process)), used[process.pid]))
    return held


def role(name: str) -> str:
    return next((role for start, role in ROLES.items() if name.startswith(start)), "other")


def title(process: psutil.Process) -> str:
    """How the process calls itself: Ray writes its actors' names over the command line."""
    words = process.cmdline()
    name = words[0] if words and words[0].startswith("ray::") else process.name()
    return name.split(".")[0].split(" ")[0]


def pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines()
    return int(next(line for line in lines if line.startswith(b"Pss:")).split()[1]) / 1024
