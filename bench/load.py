"""Many open pages of a run that trains: `.venv/bin/python -m bench.load [--pages 20] [--minutes 10]`. Prints one table.

The real CPU engine trains; `python -m app` serves. A page is what Live asks for, without its drawing, which is another
machine's work: the answers to its curves as soon as there is news, then its newest games, and once a second what the status
bar shows. Its asking is a person's machine's work too, and takes what is left of these cores (nice 19).

Time with the pages open and time without them alternate, and each stretch with them is compared with those around it, so
that a trainer that gets slower by itself, as its replies get longer, is not held against them. The noise of such a ratio is
that of every second stretch without pages by those without around it.

A refresh of the curves is timed from the moment at which the index has the news, asked every 10 ms, to the answer; one of
the bar from its question.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import httpx
import psutil

from bench.attacks import dashboard
from bench.ingest import at_p95
from launcher import report, state
from launcher.config import resolve
from launcher.rundir import RunDir
from launcher.runs import Runs
from launcher.store import Store

NEAR = ("rewards", "rates", "attacker", "assessor")
"""Plots in sight in a window of 1280 x 900."""
OPEN, CLOSED = 60.0, 30.0
"""Seconds of a stretch with the pages, and of one without."""
WARM_UP = 5
"""First steps, that load and compile."""
BAR_EVERY, LOOK, EVERY = 1.0, 0.01, 0.05
HEADS = ("what", "value", "goal")


@dataclass
class Heard:
    """What the pages were told."""

    curves: list[float] = field(default_factory=list)
    """Seconds."""
    bars: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    news: dict[str, float] = field(default_factory=dict)
    """When the index had it, by what an answer calls it."""
    steps: dict[int, float] = field(default_factory=dict)
    """When the index had each step. Seconds of the monotonic clock, as the one above."""


class Stretch(NamedTuple):
    open: bool
    begun: float
    ended: float


class Share(NamedTuple):
    """What a process took in the time that was measured."""

    cpu: float
    """Of one core."""
    mb: float
    """Most resident memory that was seen, in MB."""


async def ask(client: httpx.AsyncClient, what: str, wish: dict[str, Any]) -> dict[str, Any]:
    """As `secondOpinion.asked` of `app/static/first.js`."""
    return (await client.post(f"/second-opinion/{what}", json=wish)).raise_for_status().json()


async def curves(client: httpx.AsyncClient, run: str, heard: Heard) -> None:
    """One page's curves and newest games, as `app/static/board.js` and `latest.js` ask for them."""
    known, since = "", dict.fromkeys(NEAR, -1.0)
    while True:
        wish = {"run": run, "board": "live", "since": since, "smoothing": 0.6, "axis": "step", "known": known}
        try:
            answer = await ask(client, "points", wish)
        except httpx.HTTPError as error:
            heard.failed.append(f"curves: {error!r}")
            continue
        if known and answer["newest"] != known and (at := heard.news.get(answer["newest"])):
            heard.curves.append(time.monotonic() - at)
        if answer["newest"] != known:
            await games(client, run, heard)
        known = answer["newest"]
        for name, rows in answer["plots"].items():
            since[name] = rows["x"][-1] if rows and rows["x"] else since[name]
        await asyncio.sleep(EVERY)


async def games(client: httpx.AsyncClient, run: str, heard: Heard) -> None:
    try:
        await ask(client, "latest", {"run": run})
    except httpx.HTTPError as error:
        heard.failed.append(f"games: {error!r}")


async def bar(client: httpx.AsyncClient, run: str, number: int, heard: Heard) -> None:
    """One page's status bar, as `app/static/status.js` asks for it."""
    listed = ""
    await asyncio.sleep(number * BAR_EVERY / 20)
    while True:
        begun = time.monotonic()
        try:
            answer = await ask(client, "status", {"run": run, "listed": listed})
            if answer["status"]["run"] != run:
                raise httpx.HTTPError(f"answered {answer['status']}")
            listed = answer["key"]
            heard.bars.append(time.monotonic() - begun)
        except httpx.HTTPError as error:
            heard.failed.append(f"bar: {error!r}")
        await asyncio.sleep(BAR_EVERY)


async def stretch(address: str, run: str, pages: int, seconds: float, heard: Heard) -> Stretch:
    """Opens the pages, and closes them after so many seconds."""
    begun = time.monotonic()
    kept = httpx.Limits(max_connections=None, keepalive_expiry=2.0)  # the server closes what was idle for 5 s
    async with httpx.AsyncClient(base_url=address, timeout=30.0, limits=kept) as client:
        asked = [asyncio.create_task(curves(client, run, heard)) for _ in range(pages)]
        asked += [asyncio.create_task(bar(client, run, number, heard)) for number in range(pages)]
        await asyncio.sleep(seconds)
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    return Stretch(pages > 0, begun, time.monotonic())


@contextmanager
def watched(runs: Runs, run: RunDir, heard: Heard) -> Iterator[None]:
    """Keeps when the index got what."""
    enough = threading.Event()

    def keep() -> None:
        with Store(runs.store_path) as store:
            while not enough.wait(LOOK):
                heard.news.setdefault(str(store.newest(run.id)), time.monotonic())
                heard.steps.setdefault(store.progress(run.id).step, time.monotonic())

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


@contextmanager
def training(folder: Path, steps: int) -> Iterator[tuple[Runs, RunDir]]:
    """A run of the demo that has made its first steps."""
    os.environ["SECOND_OPINION_RUNS"] = str(folder)
    runs = Runs.here()
    run = runs.create(resolve("cpu-demo", {"train.steps": steps, "eval.steps": 0, "checkpoint.steps": 0}))
    runs.start(run)
    try:
        while (now := runs.look(run)).step < WARM_UP:
            if now.ended_already:
                raise RuntimeError(f"the run ended: {now.reason}")
            time.sleep(0.5)
        yield runs, run
    finally:
        with suppress(Exception):
            runs.stop(run.id, "now")
        runs.wait(run)


def ratios(stretches: Sequence[Stretch], steps: dict[int, float]) -> list[float]:
    """A step's median seconds in each second stretch by those of the stretches just before and after it."""

    def seconds(one: Stretch) -> list[float]:
        within = [
            step for step, at in steps.items() if one.begun < at <= one.ended and one.begun < steps.get(step - 1, 0)
        ]
        return [steps[step] - steps[step - 1] for step in within]

    found = []
    for index in range(1, len(stretches) - 1, 2):
        before, at, after = map(seconds, stretches[index - 1 : index + 2])
        if at and before and after:
            found.append(median(at) / median(before + after))
    return found


def spread(found: Sequence[float]) -> str:
    return f"{median(found):.3f} ({min(found):.3f} to {max(found):.3f} in {len(found)} stretches)"


async def alternate(address: str, run: str, pages: int, minutes: float, heard: Heard) -> list[Stretch]:
    found = [await stretch(address, run, 0, CLOSED, heard)]
    while sum(one.ended - one.begun for one in found if one.open) < 60 * minutes - 1:
        found.append(await stretch(address, run, pages, OPEN, heard))
        found.append(await stretch(address, run, 0, CLOSED, heard))
    return found


@contextmanager
def measured(pid: int, told: dict[str, Share], name: str) -> Iterator[None]:
    who, enough, most = psutil.Process(pid), threading.Event(), [0.0]

    def keep() -> None:
        while not enough.wait(1.0):
            most[0] = max(most[0], who.memory_info().rss / 2**20)

    thread = threading.Thread(target=keep)
    before, begun = who.cpu_times(), time.monotonic()
    thread.start()
    try:
        yield
    finally:
        after = who.cpu_times()
        enough.set()
        thread.join()
        took = after.user + after.system - before.user - before.system
        told[name] = Share(took / (time.monotonic() - begun), most[0])


def serving() -> int:
    """The dashboard's process."""
    return next(one.pid for one in psutil.Process().children() if "app" in one.cmdline())


def measure(pages: int, minutes: float) -> list[tuple]:
    heard, told = Heard(), {}
    with (
        tempfile.TemporaryDirectory(prefix="so-load-", ignore_cleanup_errors=True) as folder,
        training(Path(folder), steps=int(120 * minutes) + 200) as (runs, run), dashboard(runs.folder) as address,
    ):  # fmt: skip
        supervisor = state.read(run).supervisor.pid
        with (
            watched(runs, run, heard), measured(supervisor, told, "supervisor"), measured(serving(), told, "dashboard"),
            measured(os.getpid(), told, "pages"),
        ):  # fmt: skip
            os.nice(19)  # this thread; the one that keeps when the index had what stays as it is
            stretches = asyncio.run(alternate(address, run.id, pages, minutes, heard))
        if (now := state.read(run)).ended_already:
            raise RuntimeError(f"the run ended: {now.reason}")
    for text in sorted(set(heard.failed)):
        print(text, file=sys.stderr)
    without = [one for one in stretches if not one.open]
    return [
        ("requests answered", f"{len(heard.curves) + len(heard.bars):,}", ""),
        ("requests that failed", str(len(heard.failed)), "0"),
        ("curves: from the index to the answer, p95", f"{1000 * at_p95(heard.curves):.0f} ms", "300 ms"),
        ("status bar: from the question to the answer, p95", f"{1000 * at_p95(heard.bars):.0f} ms", "300 ms"),
        ("steps made", str(max(heard.steps) - min(heard.steps)), ""),
        ("a step's seconds with the pages by those without", spread(ratios(stretches, heard.steps)), "1"),
        ("its noise: without the pages by those without", spread(ratios(without, heard.steps)), ""),
        ("supervisor, of a core", f"{told['supervisor'].cpu:.1%}", "2 %"),
        ("supervisor, most memory", f"{told['supervisor'].mb:.0f} MB", "150 MB"),
        ("dashboard, of a core", f"{told['dashboard'].cpu:.1%}", ""),
        ("dashboard, most memory", f"{told['dashboard'].mb:.0f} MB", ""),
        ("the pages' own asking and this script, of a core", f"{told['pages'].cpu:.1%}", ""),
    ]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--pages", type=int, default=20)
    asked.add_argument("--minutes", type=float, default=10.0, help="with the pages open; half as much again without")
    given = asked.parse_args()
    print(report.columns([HEADS, *measure(given.pages, given.minutes)]))


if __name__ == "__main__":
    main()
