"""What Ray's workers print comes into the trainer's log through one small process, Ray's log monitor.

A trainer goes on without it, and nobody hears of the steps that it makes. What the monitor had not brought yet is in the
workers' own logs, among the run's temporary files, as long as those are there.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from launcher import process
from launcher.process import Identity
from launcher.trainer_log import EvalMetrics, Parser, StepMetrics

_TRAINER = re.compile(rb"\(PPOTrainer pid=(\d+)\)")
TAIL = 1024 * 1024
"""Bytes at the end of the trainer's log in which its newest process is looked for."""


class Monitor(NamedTuple):
    """Ray's two processes that are there as long as a local job of Ray's is. When Ray ends, the raylet ends first."""

    log_monitor: Identity
    raylet: Identity

    @property
    def gone(self) -> bool:
        """The log monitor is, and Ray goes on without it."""
        return not process.alive(self.log_monitor) and process.alive(self.raylet)


def find_monitor(processes: Iterable[psutil.Process]) -> Monitor | None:
    """The two among a run's processes; None as long as Ray is not up."""
    found = {}
    for one in processes:
        with suppress(psutil.Error):
            names = {Path(word).name for word in one.cmdline()[:3]}  # an interpreter and its option may come first
            found |= {name: one.pid for name in ("log_monitor.py", "raylet") if name in names}
    if len(found) < 2:
        return None
    both = process.identify(found["log_monitor.py"]), process.identify(found["raylet"])
    return Monitor(*both) if all(both) else None


def unheard(scratch: Path, log: Path, told: int) -> list[bytes]:
    """Lines with the metrics of steps after `told`, as the trainer's process printed them and its log has not got them.

    scratch: the run's folder of temporary files.
    """
    with suppress(FileNotFoundError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL))
        end = file.read()
        if pids := _TRAINER.findall(end):
            return [line for line in _metrics(scratch, pids[-1].decode(), told) if line not in end]
    return []


def _metrics(scratch: Path, pid: str, told: int) -> Iterator[bytes]:
    """Of steps after `told`; of evaluations from it on, since they come after their step."""
    parser, prefix = Parser(), f"(PPOTrainer pid={pid}) ".encode()
    for path in scratch.glob(f"ray/session_latest/logs/worker-*-{pid}.out"):
        with path.open("rb") as file:
            whole = (prefix + line.removesuffix(b"\n") for line in file if line.endswith(b"\n"))
            for line in whole:
                for event in parser.feed(0, line):
                    match event:
                        case StepMetrics(step=step) if step > told:
                            yield line
                        case EvalMetrics(step=step) if step >= told:
                            yield line
