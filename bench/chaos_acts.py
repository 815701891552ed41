"""What is done to a run on purpose, one episode after the other, and what is looked at after each."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from random import Random
from typing import NamedTuple

from bench import chaos_world as chaos
from bench.chaos_world import Untrue, World
from launcher import process, state
from launcher.rundir import RunDir
from launcher.runs import Refused
from launcher.state import End
from launcher.trainer_log import Phase


class Kind(StrEnum):
    TRAINER = "trainer killed"
    SUPERVISOR = "supervisor killed"
    EARLY = "supervisor killed as it starts"
    BOTH = "trainer and supervisor killed"
    CHILD = "Ray or vLLM process killed"
    NOW = "stopped now"
    CHECKPOINT = "stopped after a checkpoint"
    DISK = "disk full"
    DASHBOARD = "dashboard killed"


SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT)
# What happens how often. A real trainer takes half a minute to start, so more is done to it that leaves it alive.
FAKE = {
    Kind.TRAINER: 4, Kind.SUPERVISOR: 4, Kind.EARLY: 3, Kind.BOTH: 3, Kind.NOW: 3, Kind.CHECKPOINT: 2, Kind.DISK: 2,
    Kind.DASHBOARD: 1,
}  # fmt: skip
REAL = {
    Kind.TRAINER: 3, Kind.SUPERVISOR: 4, Kind.EARLY: 1, Kind.BOTH: 2, Kind.CHILD: 3, Kind.NOW: 2, Kind.CHECKPOINT: 2,
    Kind.DISK: 2, Kind.DASHBOARD: 1,
}  # fmt: skip


class Episode(NamedTuple):
    kind: Kind
    phase: str
    """Of the trainer, when it happened."""
    true_after: float
    """Seconds until the state was true."""
    ended_after: float | None
    """Seconds until the run had ended and none of its processes was left; None for one that was not to end."""
    became: str
    """What the run was afterwards."""
    trouble: str | None


def kill(who: process.Identity | None, number: int = signal.SIGKILL) -> None:
    """Returns when it is gone."""
    with suppress(ProcessLookupError):
        if process.alive(who):
            os.kill(who.pid, number)
    chaos.until(lambda: not process.alive(who), 120.0, f"process {who} outlives signal {number}")


def trainer_killed(world: World, run: RunDir) -> None:
    kill(state.read(run).trainer, world.random.choice(SIGNALS))


def supervisor_killed(world: World, run: RunDir) -> None:
    kill(state.read(run).supervisor)


def supervisor_killed_early(world: World, run: RunDir) -> None:
    """The run is stopped first, so that a start is there to be disturbed."""
    stopped_now(world, run)
    chaos.ended(world, run)
    world.fill_up()
    time.sleep(world.random.uniform(0.0, 1.5))
    for one in world.started:
        if not state.read(one).ended_already:
            kill(state.read(one).supervisor)


def both_killed(world: World, run: RunDir) -> None:
    now = state.read(run)
    for who in world.random.sample([now.supervisor, now.trainer], 2):
        kill(who)


def child_killed(world: World, run: RunDir) -> None:
    """Whatever the trainer makes of it, it may take its time: Ray finds out by and by."""
    trainer = state.read(run).trainer
    children = sorted(pid for pid in chaos.of_run(run) if pid != trainer.pid)
    if children:
        kill(process.identify(world.random.choice(children)))
    time.sleep(world.random.uniform(0.0, 3.0))


def stopped_now(world: World, run: RunDir) -> None:
    with suppress(Refused):  # it may have ended by itself
        world.runs.stop(run.id, "now")


def stopped_after_checkpoint(world: World, run: RunDir) -> None:
    with suppress(Refused):
        world.runs.stop(run.id, "checkpoint")
    chaos.until(lambda: world.runs.look(run).ended_already, 180.0 * world.patience, f"run {run.id} makes no checkpoint")


def disk_filled(world: World, run: RunDir) -> None:
    filler = world.folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(65536)):
            pass
    time.sleep(world.random.uniform(0.3, 4.0))
    filler.unlink()


def dashboard_killed(world: World, run: RunDir) -> None:
    before = state.read(run)
    if world.dashboard is None:
        chaos.open_dashboard(world)
    world.dashboard.kill()
    world.dashboard.wait()
    chaos.open_dashboard(world)
    after = state.read(run)
    if after.state == state.RUNNING and after.supervisor != before.supervisor:
        raise Untrue("the dashboard's end was the end of a supervisor")


ACTS: dict[Kind, Callable[[World, RunDir], None]] = {
    Kind.TRAINER: trainer_killed, Kind.SUPERVISOR: supervisor_killed, Kind.EARLY: supervisor_killed_early,
    Kind.BOTH: both_killed, Kind.CHILD: child_killed, Kind.NOW: stopped_now, Kind.CHECKPOINT: stopped_after_checkpoint,
    Kind.DISK: disk_filled, Kind.DASHBOARD: dashboard_killed,
}  # fmt: skip
ENDS = (Kind.TRAINER, Kind.BOTH, Kind.NOW, Kind.CHECKPOINT)
"""After these the run ends, or has been done before."""


def episode(world: World, kind: Kind) -> Episode:
    run, phase, seconds, ended_after = None, "?", 0.0, None
    try:
        run = world.running()
        wait_a_while(world, run)
        phase = alive_or_excused(world, run)
        begun = time.monotonic()
        ACTS[kind](world, run)
        world.hurt = world.hurt | {run.id} if kind in (Kind.CHILD, Kind.DISK) else world.hurt
        seconds = chaos.settled(world, run, kind in ENDS)
        if kind in ENDS:
            chaos.ended(world, run)
            ended_after = time.monotonic() - begun
        chaos.account(world, run)
    except Untrue as untrue:
        return Episode(kind, phase, seconds, ended_after, "?", str(untrue))
    return Episode(kind, phase, seconds, ended_after, state.read(run).state, None)


def alive_or_excused(world: World, run: RunDir) -> str:
    """The phase that the run is in. Errors: Untrue for one that crashed though nothing was done to it."""
    now = world.runs.look(run)
    if now.state == End.CRASHED and run.id not in world.hurt:
        raise Untrue(f"run {run.id} crashed by itself: {now.reason}")
    return now.phase


PHASES = (Phase.GENERATING, Phase.TRAINING, Phase.SAVING, Phase.EVALUATING)
"""The longer ones that come after the first step."""


def wait_a_while(world: World, run: RunDir) -> None:
    """Some time of the trainer's start, or some steps, or then a phase, if it comes soon enough."""
    if not world.real or world.random.random() < 0.3:
        time.sleep(world.random.uniform(0.0, 12.0 if world.real else 1.2))
        return
    target = state.read(run).attempts[-1] + world.random.randint(1, 3)
    chaos.until(
        lambda: (now := world.runs.look(run)).ended_already or now.step >= target,
        180.0 * world.patience,
        f"{run.id} makes no step",
    )
    wanted, soon = world.random.choice((None, *PHASES)), time.monotonic() + 15.0
    while wanted and time.monotonic() < soon:
        now = world.runs.look(run)
        if now.ended_already or now.phase == wanted:
            return
        time.sleep(0.02)


def plan(random: Random, weights: dict[Kind, int], count: int) -> list[Kind]:
    return random.choices(list(weights), list(weights.values()), k=count)
