"""The devices that runs take, and who has them.

Each has a file in runs/devices that holds the run that was given it last, and that the run's supervisor keeps locked. The
lock goes with the process, however that ends; a supervisor that was killed may leave a trainer, so a device is free only
when that run has ended, too.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from launcher import process, rundir, state
from launcher.config import RunConfig
from launcher.reading import Unreadable, config_of
from launcher.rundir import RunDir

CPU, GPUS = "cpu", "cuda"


class Taken(RuntimeError):
    """Another process holds the device; the message names it."""


def line(config: RunConfig) -> str:
    """What the run waits for: "cpu", "cuda" or a Ray cluster's address. Runs that wait for the same start in their order."""
    return config.cluster.ray_address or config.device


def needed(config: RunConfig) -> int:
    """How many of them the run takes; a cluster is one, whatever it has: it is asked before the start."""
    if line(config) != GPUS:
        return 1
    cluster = config.cluster
    if config.memory.colocate_all:
        return cluster.gpus_per_node
    references = config.reference_gpus if config.train.kl_coefficient else 0
    return cluster.gpus_per_node + references + cluster.rollout_engines * cluster.tensor_parallel


def present(wanted: str) -> list[str] | None:
    """The machine's devices by name; None where no driver tells."""
    if wanted != GPUS:
        return [wanted]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        entries = [name.strip() for name in chosen.split(",") if name.strip()]
        return named(entries, () if all(name.isdecimal() for name in entries) else _uuids() or ())
    uuids = _uuids()
    return None if uuids is None else [f"gpu-{index}" for index in range(len(uuids))]


def named(chosen: Sequence[str], uuids: Sequence[str]) -> list[str]:
    """GPUs as CUDA_VISIBLE_DEVICES has them, each by the one name that it has here: its index, also where the beginning of
    its UUID stands. Whatever is none of these UUIDs keeps its own.

    uuids: of all GPUs by index, in the order of their buses: NVML's, and that of a job (see `engine.environment`).
    """
    found = []
    for name in chosen:
        same = [index for index, uuid in enumerate(uuids) if uuid.lower().startswith(name.lower())]
        found.append(f"gpu-{same[0] if len(same) == 1 else name}")
    return list(dict.fromkeys(found))


def _uuids() -> list[str] | None:
    """Of all GPUs, by index; None where no driver answers."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [pynvml.nvmlDeviceGetUUID(handle) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def visible(names: Sequence[str]) -> dict[str, str]:
    """The environment that shows a job its own GPUs alone, where the machine has others too."""
    own = [name.removeprefix("gpu-") for name in names if name.startswith("gpu-")]
    others = set(present(GPUS) or ()) - set(names) if own else ()
    return {"CUDA_VISIBLE_DEVICES": ",".join(own)} if others else {}


def free(runs: Path, names: Sequence[str]) -> list[str]:
    """Those that no run has. Whoever gives them away holds the queue meanwhile."""
    return [name for name in names if _free(runs, name)]


def _free(runs: Path, name: str) -> bool:
    with _file(runs, name).open("a+") as file:
        if not _locked(file):
            return False
        holder = _holder(file)
    return not holder or not _goes_on(RunDir(runs / holder))


def _goes_on(run: RunDir) -> bool:
    """Of a run whose state cannot be read, and of an evaluation, which is no run, its processes tell."""
    try:
        now = state.read(run)
        if now is not None and state.orphaned(now):
            config_of(run)  # without which nobody can see to its end
    except Unreadable:
        now = None
    return now.state == state.RUNNING if now else bool(process.marked(run.id))


def give(runs: Path, names: Sequence[str], run: str) -> None:
    """Writes the run down as the one that has them. By the holder of the queue alone."""
    for name in names:
        _file(runs, name).write_text(run, encoding="ascii")


def holders(runs: Path) -> list[RunDir]:
    """The runs that were the last to be given each device."""
    found = []
    for id in sorted({file.read_text(encoding="ascii") for file in (runs / "devices").glob("*.lock")}):
        with suppress(rundir.UnknownRun):
            found.append(rundir.find(runs, id))
    return found


@contextmanager
def held(runs: Path, names: Sequence[str], patience: float = 10.0) -> Iterator[None]:
    """Keeps the devices locked, as their run's supervisor does for its life. Errors: Taken, after so many seconds."""
    deadline = time.monotonic() + patience
    with ExitStack() as files:
        for name in names:
            file = files.enter_context(_file(runs, name).open("a+"))
            while not _locked(file):
                if time.monotonic() >= deadline:
                    raise Taken(f"another process holds the device {name}")
                time.sleep(0.02)
        yield


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: TextIO) -> str:
    file.seek(0)
    return file.read()


def _file(runs: Path, name: str) -> Path:
    folder = runs / "devices"
    folder.mkdir(exist_ok=True)
    return folder / f"{re.sub(r'[^A-Za-z0-9.-]', '_', name)}.lock"
