"""Breaks runs on purpose, many times: `.venv/bin/python -m bench.chaos`. One table.

Kills of trainer, supervisor, a Ray or vLLM process and the dashboard, stops, restarts, a full disk. After each: the state is
true within 5 s, no process is left of a run that ended, no step or game is lost or doubled; at the end every run that was
started has ended or can be resumed, and another Ray cluster of the same user is whole. A seed gives the same episodes.
"""

import argparse
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import NamedTuple

from bench import chaos_world as chaos
from bench.chaos_acts import FAKE, REAL, Episode, Kind, episode, plan, stopped_now
from bench.chaos_world import Untrue, World
from launcher import report, state
from launcher.checkpoints import checkpoint_step
from launcher.state import End

HEADS = (
    "engine",
    "what happened",
    "episodes",
    "true after s",
    "at most s",
    "ended within s",
    "promises broken",
    "in which phases",
)


class Session(NamedTuple):
    episodes: list[Episode]
    broken: list[str]
    """Promises that did not hold, in an episode or at the end."""
    runs: int
    resumed: int
    disk: bool
    """The runs were on a disk of their own, which was filled."""


def finish(world: World, complete: bool) -> str | None:
    """Stops what still runs, and if it is wanted lets one run come to its end. What does not hold."""
    for run in world.started:
        if not world.runs.look(run).ended_already:
            stopped_now(world, run)
            chaos.ended(world, run)
        chaos.account(world, run)
    able = [run for run in world.started if 0 < checkpoint_step(run) < state.read(run).steps]
    if not able or not complete:
        return None
    world.runs.resume(able[0].id)
    chaos.until(lambda: world.runs.look(able[0]).ended_already, 600.0, f"run {able[0].id} does not end")
    chaos.account(world, able[0])
    last = state.read(able[0])
    return None if last.state == End.DONE else f"run {able[0].id} was resumed and became {last.state}: {last.reason}"


def session(
    kinds: Sequence[Kind],
    seed: int,
    real: bool,
    seconds: float,
    say: Callable[[str], None],
    complete: bool = True,
    patience: float = 1.0,
) -> Session:
    """The episodes, as many as the time allows. patience: how many times the promised seconds a slow machine may take."""
    with chaos.world(seed, real, steps=80 if real else 300) as world:
        world.patience = patience
        episodes: list[Episode] = []
        deadline = time.monotonic() + seconds
        for kind in kinds:
            if time.monotonic() > deadline:
                break
            if kind is not Kind.DISK or world.disk:
                done = episode(world, kind)
                episodes.append(done)
                told = f"{done.phase:18} {done.true_after:5.2f} s  {done.became:8} {done.trouble or ''}"
                say(f"{len(episodes):4} {kind:32} {told}")
        broken = [one.trouble for one in episodes if one.trouble]
        try:
            broken += [text for text in (finish(world, complete), world.harm()) if text]
        except Untrue as untrue:
            broken.append(str(untrue))
        return Session(episodes, broken, len(world.started), world.resumed, world.disk)


def rows(name: str, found: Session) -> list[tuple]:
    disk = "a tmpfs of its own" if found.disk else "no disk of its own"
    print(f"{name}: {len(found.episodes)} episodes, {found.runs} runs, resumed {found.resumed} times, on {disk}")
    by_kind = defaultdict(list)
    for one in found.episodes:
        by_kind[one.kind].append(one)
    return [
        (
            name, kind, len(some), statistics.median(one.true_after for one in some),
            max(one.true_after for one in some), max((one.ended_after for one in some if one.ended_after), default=None),
            sum(one.trouble is not None for one in some),
            ", ".join(f"{phase} {count}" for phase, count in Counter(one.phase for one in some).most_common()),
        )
        for kind in Kind if (some := by_kind[kind])
    ]  # fmt: skip


def main(words: list[str]) -> int:
    asked = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    asked.add_argument("--fake", type=int, default=150, help="episodes with a trainer that trains nothing")
    asked.add_argument("--real", type=int, default=60, help="episodes with the CPU engine")
    asked.add_argument("--minutes", type=float, default=18, help="at most, for either kind")
    asked.add_argument("--seed", type=int, default=1)
    given = asked.parse_args(words)
    say = partial(print, file=sys.stderr, flush=True)
    table, broken = [HEADS], []
    if given.fake:
        found = session(plan(Random(given.seed), FAKE, given.fake), given.seed, False, 60 * given.minutes, say)
        table, broken = [*table, *rows("fake", found)], found.broken
    if given.real:
        found = session(plan(Random(given.seed), REAL, given.real), given.seed, True, 60 * given.minutes, say)
        table, broken = [*table, *rows("real", found)], [*broken, *found.broken]
    print(report.columns(table))
    print("\n".join(broken) or "no promise was broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
