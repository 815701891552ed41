"""state.json: where a run stands. Written by whoever holds the run's lock, replaced in one go, read by anyone."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from launcher import process
from launcher.process import Identity, alive
from launcher.reading import reading
from launcher.rundir import RunDir, read_json, write_json

QUEUED, RUNNING = "queued", "running"
"""States of a run that has not ended: it waits for its device, or has it."""
STARTING, STOPPING = "starting", "stopping"
"""A running run's phases at both ends; `trainer_log.Phase` has those between."""


class End(StrEnum):
    """How a run ended."""

    DONE = "done"
    STOPPED = "stopped"
    CRASHED = "crashed"


class State(BaseModel):
    """`state` is "queued", "running" or an `End`; `phase` says more while it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    state: str = RUNNING
    phase: str = STARTING
    step: int = 0
    """Last finished step."""
    steps: int
    """Steps that the run is to make."""
    attempts: tuple[int, ...] = (0,)
    """For each start of the run, the step that it went on from."""
    supervisor: Identity | None = None
    trainer: Identity | None = None
    boot: str | None = None
    """The machine's boot in which these processes live."""
    devices: tuple[str, ...] = ()
    """Names of the devices that the run has, or had."""
    queued: float | None = None
    """Unix seconds since which it waits, or when it last began to."""
    before: str | None = None
    """What the state was before the run was queued; None for one that was never started."""
    chosen: int | None = None
    """Step of the checkpoint that it is to go on from, while it waits; None for the newest."""
    tries: int = 0
    """Supervisors that did not get as far as starting a trainer."""
    started: float
    ended: float | None = None
    last_event: float
    """Unix seconds of the last thing heard from the trainer."""
    exit_code: int | None = None
    """Of the trainer; negative for a signal. None while it runs, and where nobody was there to see it."""
    reason: str | None = None
    """Why the run ended, in one sentence."""
    traceback: str | None = None
    """The trainer's last traceback, if the run crashed."""
    left_over: tuple[str, ...] = ()
    """Processes that could not be ended."""

    @property
    def ended_already(self) -> bool:
        return self.state not in (QUEUED, RUNNING)

    @property
    def attempt(self) -> int:
        return len(self.attempts)


def read(rundir: RunDir) -> State | None:
    """None for a run that was made and never started. Errors: reading.Unreadable."""
    with reading(rundir.state):
        return State.model_validate(read_json(rundir.state)) if rundir.state.exists() else None


def write(rundir: RunDir, state: State) -> State:
    write_json(rundir.state, state.model_dump(mode="json"))
    return state


def change(rundir: RunDir, state: State, /, **changes) -> State:
    """The state with `changes`, written if it is a new one."""
    new = state.model_copy(update=changes)
    return state if new == state else write(rundir, new)


def orphaned(state: State) -> bool:
    """It says that it runs, but nobody is watching over it."""
    return state.state == RUNNING and not supervised(state)


def supervised(state: State) -> bool:
    return not rebooted(state) and alive(state.supervisor)


def training(state: State) -> bool:
    """The trainer that it names is alive."""
    return not rebooted(state) and alive(state.trainer)


def rebooted(state: State) -> bool:
    """The machine was started again since: whatever has those pids now are other processes."""
    return state.boot is not None and state.boot != process.boot()
