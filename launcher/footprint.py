"""What a run's processes hold in memory, by their role in the job."""

from collections.abc import Mapping
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
    "ray::RayWorkerWrapper": "rollout",
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


class Pss:
    """PSS per process, sampled again and again.

    The kernel walks all of a process's pages to tell it, so a process is asked anew only where its resident memory, which is
    cheap to know, has changed by more than a hundredth, or after `AGAIN` samples.
    """

    AGAIN = 10

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int, float]] = {}
        """Pid -> samples since it was asked, resident pages then, MB."""

    def sample(self, processes: list[psutil.Process]) -> list[Held]:
        """A process that ended meanwhile is left out."""
        held, before = [], self._known
        self._known = {}
        for process in processes:
            with suppress(OSError, psutil.Error, StopIteration):
                self._known[process.pid] = self._one(process.pid, before.get(process.pid))
                named = title(process)
                held.append(Held(process.pid, named, role(named), self._known[process.pid][2]))
        return held

    def _one(self, pid: int, known: tuple[int, int, float] | None) -> tuple[int, int, float]:
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
        if known:
            times, then, mb = known
            if times < self.AGAIN and abs(pages - then) * 100 <= then:
                return times + 1, then, mb
        return 1, pages, pss_mb(pid)


def on_gpu(processes: list[psutil.Process], nvml=None) -> list[Held]:
    """Device memory per process, over all GPUs, as NVML tells it. nvml: the module pynvml, or what answers like it.

    A process whose memory NVML does not tell is left out, as is one that ended meanwhile.
    """
    used = gpu_mb(nvml or _pynvml())
    held = []
    for process in processes:
        with suppress(psutil.Error):
            if process.pid in used:
                held.append(Held(process.pid, title(process), role(title(process)), used[process.pid]))
    return with_judge(held, {process.pid: process for process in processes})


def gpu_mb(nvml) -> dict[int, float]:
    """Pid -> device memory, over all GPUs."""
    used: dict[int, float] = {}
    nvml.nvmlInit()
    try:
        for index in range(nvml.nvmlDeviceGetCount()):
            device = nvml.nvmlDeviceGetHandleByIndex(index)
            for user in nvml.nvmlDeviceGetComputeRunningProcesses(device):
                if user.usedGpuMemory is not None:
                    used[user.pid] = used.get(user.pid, 0.0) + user.usedGpuMemory / MB
    finally:
        nvml.nvmlShutdown()
    return used


def has_gpu(nvml=None) -> bool:
    """A driver answers on this machine. One that only submits jobs to a cluster may have none."""
    nvml = nvml or _pynvml()
    try:
        nvml.nvmlInit()
        nvml.nvmlShutdown()
    except nvml.NVMLError:
        return False
    return True


def with_judge(held: list[Held], processes: Mapping[int, psutil.Process]) -> list[Held]:
    """vLLM runs in a process of its own below the rollout actor: what the actor itself holds is then the judge's, and frozen
    opponents', as in the plan."""
    parents = set()
    for one in held:
        with suppress(psutil.Error):
            if one.name.startswith("VLLM::"):
                parents.add(processes[one.pid].ppid())
    return [one._replace(role="judge") if one.pid in parents and one.role == "rollout" else one for one in held]


def named(left: list[psutil.Process], nvml=None) -> list[str]:
    """Processes that could not be ended, with the device memory that they keep, where a GPU's driver tells it."""
    try:
        used = gpu_mb(nvml or _pynvml()) if left else {}
    except _pynvml().NVMLError:
        used = {}
    texts = []
    for process in left:
        with suppress(psutil.Error):
            kept = f", keeps {used[process.pid] / 1024:.1f} GiB of GPU memory" if process.pid in used else ""
            texts.append(f"{process.pid} {title(process)}{kept}")
    return texts


def _pynvml():
    import pynvml

    return pynvml


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
