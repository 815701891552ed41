"""The dashboard beside trackio and TensorBoard in real Chromium: `python -m bench.dashboard [--data FOLDER] [--hour]`.

The same 100,000 steps of 20 metrics for all three, and 1,000,000 games for ours, on the same machine in the same run.
The others live in environments of their own, because their pins need not fit ours:

    python3.11 -m venv /tmp/trackio && /tmp/trackio/bin/pip install trackio==0.43.0
    python3.11 -m venv /tmp/tensorboard && /tmp/tensorboard/bin/pip install tensorboard==2.21.0

One that is missing is left out of the table. A navigation is a new browser context, so that nothing is cached; it ends when
the reward curve is drawn. A new step is timed from its line in the log to the curve on the open page, with an ingest every
0.2 s as a supervisor does it. The others
are asked for the one curve alone, and TensorBoard's time ends with its axes, just before a worker of its own draws the
curve: both in their favour. Each cell is a measurement; "-" stands where a tool has no such thing.
"""

import argparse
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from bench.big_run import LINE, STEP_SECONDS, built, values
from bench.ingest import filters, game_line, p95, searches, writer
from bench.others import DRAWN, serving, write_others
from launcher import process, state
from launcher.ingest import ingest
from launcher.rundir import PROJECT, RunDir
from launcher.store import Store
from launcher.store_page import GameFilter, page

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
OURS = "document.querySelector('.so-figure-rewards .so-plot .scatterlayer path.js-line') !== null"
LAST = "document.querySelector('.so-figure-rewards .so-plot').data.at(-1).x.at(-1)"
SUPERVISORS_TICK = 0.2


class Row(NamedTuple):
    what: str
    unit: str
    ours: float
    trackio: float | None = None
    tensorboard: float | None = None


@contextmanager
def dashboard(runs: Path, port: int) -> Iterator[str]:
    argv = [sys.executable, "-m", "app", "--port", str(port)]
    with subprocess.Popen(
        argv, cwd=PROJECT, env=os.environ | {"SECOND_OPINION_RUNS": str(runs)}, stdout=subprocess.DEVNULL
    ) as child:
        try:
            yield answering(f"http://127.0.0.1:{port}/")
        finally:
            child.terminate()


def answering(address: str, patience: float = 120.0) -> str:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            httpx.get(address, timeout=5.0)
            return address
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"{address} does not answer")


def navigation(browser: Browser, address: str, drawn: str, times: int) -> float:
    """Median seconds from a cold navigation to a drawn curve."""
    found = []
    for _ in range(times):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        tab = context.new_page()
        begun = time.perf_counter()
        tab.goto(address, wait_until="commit")
        tab.wait_for_function(drawn, timeout=120_000)
        found.append(time.perf_counter() - begun)
        context.close()
    return sorted(found)[len(found) // 2]


@contextmanager
def live(run: RunDir) -> Iterator[None]:
    """The run as one that goes on, supervised by this process, which ingests as often as a supervisor."""
    done, me, enough = state.read(run), process.identify(os.getpid()), threading.Event()
    state.write(run, done.model_copy(update={
        "state": state.RUNNING, "phase": "generating", "supervisor": me, "trainer": me, "ended": None,
        "steps": done.steps * 2, "last_event": time.time(),
    }))  # fmt: skip

    def keep() -> None:
        with Store(run.path.parent / "runs.db") as store:
            while not enough.wait(SUPERVISORS_TICK):
                ingest(store, run.path)

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()
        state.write(run, done.model_copy(update={"steps": done.steps + EXTRA, "step": done.step + EXTRA}))


EXTRA = 40
"""Steps that are added to the run while it is watched."""


def add_step(run: RunDir, step: int) -> None:
    """A step as the trainer and the agent write it: its games first, then its line."""
    dice = random.Random(step)
    text = writer(dice)
    with (run.games / "1-8.jsonl").open("a", encoding="utf-8", newline="\n") as games:
        games.writelines(game_line(step * 100 + index, step, run.id, dice, text) for index in range(10))
    with run.log(1).open("a", encoding="utf-8", newline="\n") as log:
        log.write(LINE.format(step=step, values=values(step, dice)))


def new_steps(tab: Page, run: RunDir, first: int) -> tuple[float, float]:
    """p95 of a new step's seconds to the open page, and p95 of the bytes of a refresh meanwhile."""
    sizes: list[int] = []
    tab.on("response", lambda one: sizes.append(len(one.body())) if "component_server" in one.url
           and '"refresh"' in (one.request.post_data or "") else None)  # fmt: skip
    found = []
    for step in range(first, first + EXTRA):
        add_step(run, step)
        begun = time.perf_counter()
        tab.wait_for_function(f"{LAST} >= {step}", polling=20, timeout=30_000)
        found.append(time.perf_counter() - begun)
        tab.wait_for_timeout(137)
    return sorted(found)[int(0.95 * len(found))], float(sorted(sizes)[int(0.95 * len(sizes))])


def growth(tab: Page, seconds: float) -> float:
    """MB by which the page's JavaScript memory grows while it refreshes, after a collection at both ends."""
    session = tab.context.new_cdp_session(tab)

    def used() -> float:
        session.send("HeapProfiler.collectGarbage")
        return session.send("Runtime.getHeapUsage")["usedSize"] / 1e6

    tab.wait_for_timeout(30_000)
    before = used()
    tab.wait_for_timeout(seconds * 1000)
    return used() - before


def games(run: RunDir) -> list[Row]:
    with Store(run.path.parent / "runs.db") as store:

        def ask(wanted: GameFilter) -> None:
            page(store, run.id, wanted)

        searched = [GameFilter(text=text) for text in searches(run.path)]
        return [
            Row("page of games, filtered, p95", "ms", p95(ask, filters() * 3)),
            Row("page of games, searched, p95", "ms", p95(ask, searched)),
        ]  # fmt: skip


def measure(run: RunDir, others: Path, times: int, hour: bool) -> list[Row]:
    with ExitStack() as stack:
        play = stack.enter_context(sync_playwright())
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        address = stack.enter_context(dashboard(run.path.parent, 7871)) + f"?run={run.id}&tab=live"
        cold: dict[str, float] = {"ours": navigation(browser, address, OURS, times)}
        for name, where in stack.enter_context(serving(others)).items():
            cold[name] = navigation(browser, answering_at(where), DRAWN[name], times)
        rows = [
            Row("cold navigation to the drawn curve", "s", cold["ours"], cold.get("trackio"), cold.get("tensorboard"))
        ]
        stack.enter_context(live(run))
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(address)
        tab.wait_for_function(OURS, timeout=60_000)
        tab.wait_for_timeout(5000)
        shown, size = new_steps(tab, run, state.read(run).step + 1)
        rows += [
            Row("new step to the open page, p95", "s", shown),
            Row("bytes of a refresh of Live, p95", "kB", size / 1e3),
        ]
        if hour:
            rows.append(Row("growth of the page's memory in an hour", "MB", growth(tab, 3600)))
        browser.close()
    return rows


def answering_at(where: str) -> str:
    answering(where.split("#")[0])
    return where


def told(rows: list[Row], times: Callable[[float, float], str]) -> Iterator[str]:
    yield f"{'':<42}{'ours':>12}{'trackio':>22}{'TensorBoard':>22}"
    for row in rows:
        cells = [f"{row.ours:,.2f} {row.unit}"]
        for other in (row.trackio, row.tensorboard):
            cells.append("-" if other is None else f"{other:,.2f} {row.unit} ({times(other, row.ours)})")
        yield f"{row.what:<42}{cells[0]:>12}{cells[1]:>22}{cells[2]:>22}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path("/tmp/bigruns"), help="folder of runs; made if it is not there"
    )
    parser.add_argument("--others", type=Path, default=Path("/tmp/bigruns-others"), help="the same for the other tools")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--games", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=5, help="navigations, of which the median counts")
    parser.add_argument("--hour", action="store_true", help="also an hour of refreshing")
    asked = parser.parse_args()
    asked.data.mkdir(parents=True, exist_ok=True)
    run = built(asked.data.resolve(), asked.steps, asked.games)
    write_others(asked.others, asked.steps)
    rows = [*measure(run, asked.others, asked.times, asked.hour), *games(run)]
    print(f"{asked.steps:,} steps of 20 metrics, {asked.games:,} games, a step of {STEP_SECONDS:g} s")
    print(*told(rows, lambda other, ours: f"{other / ours:.1f} x"), sep="\n")


if __name__ == "__main__":
    main()
