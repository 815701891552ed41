"""Processes of a run: told apart from reused pids by their start time, found by the run's mark, ended in order."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from medical_team.agent_settings import SETTINGS

GRACE = ((signal.SIGINT, 15.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
"""Signals of a stop, and how many seconds each is given."""
HEADLESS = ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0))
"""The same where the trainer is gone, and what it left has nobody who would take it down in order."""


class Identity(NamedTuple):
    """A process: a pid means nothing without the moment it started, in seconds since the machine did."""

    pid: int
    started: float


def identify(pid: int) -> Identity | None:
    """The process that has this pid now; None if there is none."""
    with suppress(psutil.NoSuchProcess, OSError):
        return Identity(pid, _started(pid))
    return None


def _started(pid: int) -> float:
    """Seconds from the machine's start to the process's: a wall clock that is set changes nothing about it."""
    after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return int(after_name[19]) / os.sysconf("SC_CLK_TCK")


def alive(who: Identity | None) -> bool:
    """The very process is still running. A zombie is not."""
    if who is None:
        return False
    with suppress(psutil.NoSuchProcess, OSError):
        same = abs(_started(who.pid) - who.started) < 0.005
        return same and psutil.Process(who.pid).status() != psutil.STATUS_ZOMBIE
    return False


def boot() -> str:
    """Names the time since the machine was started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def oom_kills() -> int:
    """Processes that the kernel has ended since then because memory ran out."""
    counts = dict(line.split(" ") for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines())
    return int(counts.get("oom_kill", 0))


def spawn(argv: Sequence[str], env: Mapping[str, str], output: Path, cwd: Path) -> subprocess.Popen:
    """Starts a process in a session of its own, so that it outlives us; all it prints is appended to `output`."""
    with output.open("ab") as log:
        return subprocess.Popen(
            argv, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


_detached: list[subprocess.Popen] = []


def detach(argv: Sequence[str], env: Mapping[str, str], output: Path, cwd: Path) -> Identity | None:
    """Like `spawn`, for a process that we do not wait for."""
    _detached[:] = [child for child in _detached if child.poll() is None]
    _detached.append(spawn(argv, env, output, cwd))
    return identify(_detached[-1].pid)


def family(who: Identity) -> list[psutil.Process]:
    """The process and all its descendants; empty once it is gone."""
    if not alive(who):
        return []
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(who.pid)
        return [parent, *parent.children(recursive=True)]
    return []


def marked(run: str) -> list[psutil.Process]:
    """Every process of this user that carries the run's mark in its environment, wherever its parents went."""
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if process.pid != os.getpid() and carries(Path(f"/proc/{process.pid}/environ").read_bytes(), run):
                found.append(process)
    return found


def carries(environ: bytes, run: str) -> bool:
    """The environment is that of one of the run's processes.

    Ray's agents write their title over the beginning of theirs, and with it sometimes the mark itself: then the run's own
    folder for temporary files tells. A shell that was led there is no part of the run.
    """
    own, folder = f'{SETTINGS}={{"run":"{run}"'.encode(), f"/so-{run}".encode()
    entries = (entry.partition(b"=") for entry in environ.split(b"\0"))
    return own in environ or any(folder in value for name, _, value in entries if name not in (b"PWD", b"OLDPWD"))


def mark(run: str) -> dict[str, str]:
    """The environment by which a process of the run is found that needs to know nothing else."""
    return {SETTINGS: f'{{"run":"{run}"}}'}


def trainer_of(run: str) -> Identity | None:
    """The run's trainer, if it was started: the one process of the run that leads its own session."""
    leaders = [process.pid for process in marked(run) if _leads(process.pid)]
    return identify(min(leaders)) if leaders else None


def _leads(pid: int) -> bool:
    with suppress(OSError):
        return os.getsid(pid) == pid
    return False


def end(run: str, trainer: Identity | None) -> list[psutil.Process]:
    """Ends everything that belongs to the run: its process group politely, then by force. What is left, if anything."""
    for number, seconds in GRACE if alive(trainer) else HEADLESS:
        targets = _with_children(marked(run))
        if not targets:
            return []
        if number == signal.SIGINT and alive(trainer):
            os.killpg(trainer.pid, number)  # the trainer takes its own children down
        else:
            for process in targets:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and (targets := _still(targets)):
            time.sleep(0.1)
    return _still(marked(run))


def _with_children(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """And all that they started, whatever its environment says."""
    found = {process.pid: process for process in processes}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found |= {child.pid: child for child in process.children(recursive=True)}
    return list(found.values())


def _still(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    left = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    return left
