"""Many open pages of a run that trains: `.venv/bin/python -m bench.load [--pages 20] [--minutes 10]`. Prints one table.

The real CPU engine trains; `python -m app` serves. A page is what Live asks for, without its drawing, which is another
machine's work: the answers to its curves as soon as there is news, and once a second what the status bar shows. Time with
the pages open and time without them alternate, and each stretch with them is compared with those around it, so that a
trainer that gets slower by itself, as its replies get longer, is not held against them. The pages' own asking takes from the
same cores, against us.

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
from typing import NamedTuple

import httpx
import psutil

from bench.attacks import dashboard, functions
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


async def curves(client: httpx.AsyncClient, run: str, heard: Heard) -> None:
    """One page's curves, as `app/static/board.js` asks for them."""
    known, since = "", dict.fromkeys(NEAR, -1.0)
    while True:
        wish = {"run": run, "board": "live", "since": since, "smoothing": 0.6, "axis": "step", "known": known}
        try:
            answer = (await client.post("/second-opinion/points", json=wish)).raise_for_status().json()
        except httpx.HTTPError as error:
            heard.failed.append(f"curves: {error!r}")
            continue
        if known and answer["newest"] != known and (at := heard.news.get(answer["newest"])):
            heard.curves.append(time.monotonic() - at)
        known = answer["newest"]
        for name, rows in answer["plots"].items():
            since[name] = rows["x"][-1] if rows and rows["x"] else since[name]
        await asyncio.sleep(EVERY)


async def bar(client: httpx.AsyncClient, run: str, look: int, number: int, heard: Heard) -> None:
    """One page's status bar, as `app/static/status.js` asks for it."""
    listed = ""
    await asyncio.sleep(number * BAR_EVERY / 20)
    while True:
        asked = {"component_id": look, "fn_name": "look", "session_hash": f"page{number}"}
        body = asked | {"data": {"run": run, "listed": listed}}
        begun = time.monotonic()
        try:
            answer = (await client.post("/gradio_api/component_server", json=body)).raise_for_status().json()
            if answer["status"]["run"] != run:
                raise httpx.HTTPError(f"answered {answer['status']}")
            listed = answer["key"]
            heard.bars.append(time.monotonic() - begun)
        except httpx.HTTPError as error:
            heard.failed.append(f"bar: {error!r}")
        await asyncio.sleep(BAR_EVERY)


async def stretch(address: str, run: str, look: int, pages: int, seconds: float, heard: Heard) -> Stretch:
    """Opens the pages, and closes them after so many seconds."""
    begun = time.monotonic()
    async with httpx.AsyncClient(base_url=address, timeout=30.0, limits=httpx.Limits(max_connections=None)) as client:
        asked = [asyncio.create_task(curves(client, run, heard)) for _ in range(pages)]
        asked += [asyncio.create_task(bar(client, run, look, number, heard)) for number in range(pages)]
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
    """A step's median seconds with the pages by those without them just before and after, by stretch with the pages."""

    def seconds(one: Stretch) -> list[float]:
        within = [
            step for step, at in steps.items() if one.begun < at <= one.ended and one.begun < steps.get(step - 1, 0)
        ]
        return [steps[step] - steps[step - 1] for step in within]

    found = []
    for index in range(1, len(stretches) - 1):
        before, at, after = map(seconds, stretches[index - 1 : index + 2])
        if stretches[index].open and at and before and after:
            found.append(median(at) / median(before + after))
    return found


async def alternate(address: str, run: str, look: int, pages: int, minutes: float, heard: Heard) -> list[Stretch]:
    found = [await stretch(address, run, look, 0, CLOSED, heard)]
    while sum(one.ended - one.begun for one in found if one.open) < 60 * minutes - 1:
        found.append(await stretch(address, run, look, pages, OPEN, heard))
        found.append(await stretch(address, run, look, 0, CLOSED, heard))
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
        with httpx.Client() as client:
            look = functions(client, address)["look"]
        supervisor = state.read(run).supervisor.pid
        with (
            watched(runs, run, heard), measured(supervisor, told, "supervisor"), measured(serving(), told, "dashboard"),
        ):  # fmt: skip
            stretches = asyncio.run(alternate(address, run.id, look, pages, minutes, heard))
        if (now := state.read(run)).ended_already:
            raise RuntimeError(f"the run ended: {now.reason}")
    for text in sorted(set(heard.failed)):
        print(text, file=sys.stderr)
    pairs = ratios(stretches, heard.steps)
    spread = f"{median(pairs):.3f} ({min(pairs):.3f} to {max(pairs):.3f} in {len(pairs)} stretches)"
    return [
        ("requests answered", f"{len(heard.curves) + len(heard.bars):,}", ""),
        ("requests that failed", str(len(heard.failed)), "0"),
        ("curves: from the index to the answer, p95", f"{1000 * at_p95(heard.curves):.0f} ms", "300 ms"),
        ("status bar: from the question to the answer, p95", f"{1000 * at_p95(heard.bars):.0f} ms", "300 ms"),
        ("steps made", str(max(heard.steps) - min(heard.steps)), ""),
        ("a step's seconds with the pages by those without", spread, "1"),
        ("supervisor, of a core", f"{told['supervisor'].cpu:.1%}", "2 %"),
        ("supervisor, most memory", f"{told['supervisor'].mb:.0f} MB", "150 MB"),
        ("dashboard, of a core", f"{told['dashboard'].cpu:.1%}", ""),
        ("dashboard, most memory", f"{told['dashboard'].mb:.0f} MB", ""),
    ]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--pages", type=int, default=20)
    asked.add_argument("--minutes", type=float, default=10.0, help="with the pages open; half as much again without")
    given = asked.parse_args()
    print(report.columns([HEADS, *measure(given.pages, given.minutes)]))


if __name__ == "__main__":
    main()
