"""The queue: runs that wait for a device, in queue.json of the runs folder, first to start first.

A run waits if its state.json says so; the file only says in which order, and is made again from the runs if it is gone.
Every change is made by whoever holds the queue's lock, which goes with the process, however it ends. A run is in the file
before its state says that it waits, and until it says so no longer: one that waits and is not in the file would be lost, one
that is there and does not wait is left out.
"""

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from launcher import devices, rundir, state, supervise
from launcher.checkpoints import settle
from launcher.reading import Unreadable, config_of, reading
from launcher.rundir import RunDir, read_json, write_json
from launcher.state import QUEUED, RUNNING, STARTING, End, State


class Waiting(NamedTuple):
    run: str
    line: str
    """What it waits for, as `devices.line` names it."""
    since: float
    """Unix seconds."""


class NotWaiting(ValueError):
    """The run is not in the queue; the message says so."""


LINE = TypeAdapter(tuple[Waiting, ...])


@contextmanager
def held(runs: Path) -> Iterator[None]:
    """The queue is this process's to change."""
    with (runs / "queue.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def waiting(runs: Path) -> tuple[Waiting, ...]:
    """Who waits, first to start first."""
    path = runs / "queue.json"
    if not path.exists() and not (runs / "queue.lock").exists():
        return ()  # nothing has ever waited here
    with suppress(Unreadable), reading(path):
        return LINE.validate_python(read_json(path))
    return _found(runs)


def _found(runs: Path) -> tuple[Waiting, ...]:
    found = []
    for run in rundir.every(runs):
        with suppress(Unreadable):
            now = state.read(run)
            if now is not None and now.state == QUEUED:
                found.append(Waiting(run.id, devices.line(config_of(run)), now.queued))
    return tuple(sorted(found, key=lambda one: one.since))


def place(runs: Path, run: str) -> int | None:
    """The run's place, 1 for the first; None if it does not wait."""
    return next((number for number, one in enumerate(waiting(runs), 1) if one.run == run), None)


def join(run: RunDir, now: State, step: int | None = None) -> None:
    """Puts a run at the end: a new one, or one that has ended and is to go on, from its newest checkpoint or that of `step`.

    Errors: supervise.Busy.
    """
    runs = run.path.parent
    with supervise.sole(run, patience=5.0), held(runs):
        at = time.time()  # with the queue in hand, so that the times are in the order of the places
        before = now.state if now.ended_already else None
        # a supervisor that was killed as it ended left it: it would stop this start, too
        run.stop.unlink(missing_ok=True)
        _put(runs, [*waiting(runs), Waiting(run.id, devices.line(config_of(run)), at)])
        waits = {"state": QUEUED, "phase": QUEUED, "queued": at, "before": before, "chosen": step}
        state.write(run, now.model_copy(update=waits))


def move(runs: Path, run: str, to: int) -> int:
    """Gives the run this place, 1 for the first; returns the place that it got. Errors: NotWaiting."""
    with held(runs):
        line = list(waiting(runs))
        mine = next((one for one in line if one.run == run), None)
        if mine is None:
            raise NotWaiting(f"run {run} is not in the queue")
        line.remove(mine)
        index = min(max(to - 1, 0), len(line))
        _put(runs, [*line[:index], mine, *line[index:]])
        return index + 1


def withdraw(run: RunDir) -> State:
    """Takes the run out; it is what it was before it was queued. Errors: NotWaiting; supervise.Busy."""
    runs = run.path.parent
    _still_waits(run)  # a run that has started has a supervisor, for which there is nothing to wait
    with supervise.sole(run, patience=5.0), held(runs):
        now = _still_waits(run)
        after = state.write(run, now.model_copy(update=_withdrawn(now)))
        _leave(runs, run.id)
        return after


def _still_waits(run: RunDir) -> State:
    now = state.read(run)
    if now is None or now.state != QUEUED:
        raise NotWaiting(f"run {run.id} is not in the queue")
    return now


def _withdrawn(now: State) -> dict[str, Any]:
    if now.before is not None:
        return {"state": now.before, "phase": now.before, "queued": None, "chosen": None}
    reason = "withdrawn from the queue before it started"
    return {"state": End.STOPPED, "phase": End.STOPPED, "ended": time.time(), "queued": None, "reason": reason}


def advance(runs: Path) -> list[str]:
    """Starts every run that is next and whose devices are free; the runs that it started.

    Called by whoever ends a run or looks at one: nobody has to stay for the next to start.
    """
    if not waiting(runs):
        return []
    with held(runs):
        started, blocked = [], set()
        for one in waiting(runs):
            if one.line in blocked:
                continue
            names = _admit(runs, one)
            if names is None:
                blocked.add(one.line)
            elif names:
                started.append(one.run)
        return started


def _admit(runs: Path, one: Waiting) -> list[str] | None:
    """Starts the run on the devices that are returned; None if it has to wait, [] if it waits no longer."""
    run = RunDir(runs / one.run)
    try:
        now, config = state.read(run), config_of(run)
    except Unreadable:
        now = None  # looking at the run tells why
    if now is None or now.state != QUEUED:
        _leave(runs, one.run)
        return []
    try:
        return _start(run, now, one.line, devices.needed(config))
    except supervise.Busy:
        return None


def _start(run: RunDir, now: State, line: str, count: int) -> list[str] | None:
    """The order makes every kill between two of its lines harmless: what was not written down did not start."""
    runs, present = run.path.parent, devices.present(line)
    if present is not None and len(present) < count:
        _impossible(run, now, f"it takes {count} GPUs of this machine, which shows {len(present)}")
        _leave(runs, run.id)
        return []
    names = devices.free(runs, present or [f"gpu-{index}" for index in range(count)])[:count]
    if len(names) < count:
        return None
    devices.give(runs, names, run.id)
    supervise.spawn(run, _begun(run, now, names), now)
    _leave(runs, run.id)
    return names


def _begun(run: RunDir, now: State, names: Sequence[str]) -> State:
    """The state of a run whose turn has come: its first start, or one more from a checkpoint."""
    step = settle(run, now.step if now.chosen is None else now.chosen)
    again = step > 0 or now.trainer is not None
    return State(
        state=RUNNING, phase=STARTING, steps=now.steps, step=step, devices=tuple(names), queued=now.queued,
        attempts=(*now.attempts, step) if again else now.attempts, started=now.started if again else time.time(),
        last_event=time.time(),
    )  # fmt: skip


def _impossible(run: RunDir, now: State, why: str) -> None:
    with supervise.sole(run):
        state.write(run, now.model_copy(update={
            "state": End.CRASHED, "phase": End.CRASHED, "ended": time.time(), "reason": why,
        }))  # fmt: skip


def _leave(runs: Path, run: str) -> None:
    _put(runs, [one for one in waiting(runs) if one.run != run])


def _put(runs: Path, line: Sequence[Waiting]) -> None:
    write_json(runs / "queue.json", [list(one) for one in line])
