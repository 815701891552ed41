"""The dashboard beside trackio and TensorBoard in real Chromium: `python -m bench.dashboard [--hour MINUTES]`.

The same 100,000 steps of 20 metrics for all three, and 1,000,000 games for ours, on the same machine in the same run.
The others live in environments of their own, because their pins need not fit ours:

    python3.11 -m venv /tmp/trackio && /tmp/trackio/bin/pip install trackio==0.43.0
    python3.11 -m venv /tmp/tensorboard && /tmp/tensorboard/bin/pip install tensorboard==2.21.0

One that is missing is left out of the table. A navigation is a new browser context, so that nothing is cached there; it ends
when the reward curve is drawn, and the page is left in peace before the next. The others are asked for the one curve alone,
and TensorBoard's time ends with its axes, just before a worker of its own draws the curve: both in their favour.

A new step is timed from its line in the log to the curve on the open page, with an ingest every 0.2 s as a supervisor does
it, and 0.7 to 1.5 s between one on the page and the next, about the pace of the quickest real runs; with the others from its
writing to the answer that holds it, undrawn. TensorBoard's page asks for nothing by itself: its reload button is pressed
once a second. The bytes of a refresh are those of the answer with the points.

--hour makes the refreshes of an hour, as fast as the page takes them, with its pauses cut to a tenth; the table says how
many there were. What only time does is not in it.
"""

import argparse
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from bench.big_run import LINE, STEP_SECONDS, built, values
from bench.ingest import filters, game_line, p95, searches, writer
from bench.others import DRAWN, Refreshes, refreshes, serving, write_others
from launcher import process, rundir, state
from launcher.ingest import ingest
from launcher.rundir import PROJECT, RunDir
from launcher.store import Store
from launcher.store_page import GameFilter, page

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
POINTS = "/second-opinion/points"
OURS = "document.querySelector('.so-figure-rewards .so-plot .scatterlayer path.js-line') !== null"
LAST = "document.querySelector('.so-figure-rewards .so-plot').data.at(-1).x.at(-1)"
SUPERVISORS_TICK = 0.2
PEACE = 6000
"""Milliseconds after a navigation in which the page and its server finish what they began."""
WINDOW = {"width": 1280, "height": 900}
OTHERS_EXTRA = 20
HOUR = 5400
"""Refreshes in an hour of a run whose steps take 2 s: one a step, and one for each second's sample of memory."""


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


def navigations(browser: Browser, address: str, drawn: str, times: int) -> list[float]:
    """Seconds from each cold navigation to a drawn curve."""
    found = []
    for _ in range(times):
        context = browser.new_context(viewport=WINDOW)
        tab = context.new_page()
        begun = time.perf_counter()
        tab.goto(address, wait_until="commit")
        tab.wait_for_function(drawn, timeout=120_000)
        found.append(time.perf_counter() - begun)
        tab.wait_for_timeout(PEACE)
        context.close()
    return found


@contextmanager
def live(run: RunDir, tick: float = SUPERVISORS_TICK) -> Iterator[None]:
    """The run as one that goes on, supervised by this process, which ingests as often as a supervisor."""
    done, me, enough = state.read(run), process.identify(os.getpid()), threading.Event()
    state.write(run, done.model_copy(update={
        "state": state.RUNNING, "phase": "generating", "supervisor": me, "trainer": me, "ended": None,
        "steps": done.steps * 2, "last_event": time.time(),
    }))  # fmt: skip

    def keep() -> None:
        with Store(run.path.parent / "runs.db") as store:
            while not enough.wait(tick):
                ingest(store, run.path)

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()
        with Store(run.path.parent / "runs.db") as store:
            last = store.progress(run.id).step
        state.write(run, done.model_copy(update={"steps": last, "step": last}))


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
    tab.on("response", lambda one: sizes.append(len(one.body())) if one.url.endswith(POINTS) else None)
    found, dice = [], random.Random(first)
    for step in range(first, first + EXTRA):
        add_step(run, step)
        begun = time.perf_counter()
        tab.wait_for_function(f"{LAST} >= {step}", polling=20, timeout=30_000)
        found.append(time.perf_counter() - begun)
        tab.wait_for_timeout(dice.uniform(700, 1500))
    return sorted(found)[int(0.95 * len(found))], float(sorted(sizes)[int(0.95 * len(sizes))])


class Growth(NamedTuple):
    megabytes: float
    nodes: int
    refreshes: int


FASTER = (
    "const later = window.setTimeout; window.setTimeout = (what, ms, ...rest) => later(what, (ms || 0) / 10, ...rest)"
)


def growth(tab: Page, run: RunDir, address: str, minutes: float) -> Growth:
    """What the page holds more of after an hour's refreshes, or those of so many minutes if that is less; a collection is
    forced at both ends."""
    tab.add_init_script(FASTER)
    tab.goto(address)
    tab.wait_for_function(OURS, timeout=60_000)
    seen = [0]
    tab.on("response", lambda one: seen.__setitem__(0, seen[0] + one.url.endswith(POINTS)))
    session = tab.context.new_cdp_session(tab)

    def held() -> tuple[float, int]:
        session.send("HeapProfiler.collectGarbage")
        return session.send("Runtime.getHeapUsage")["usedSize"] / 1e6, session.send("Memory.getDOMCounters")["nodes"]

    steps = count(state.read(run).step + 1)
    _refresh(tab, run, seen, steps, WARM_UP, 60 * minutes)
    (memory, nodes), begun = held(), seen[0]
    _refresh(tab, run, seen, steps, HOUR, 60 * minutes)
    after = held()
    return Growth(after[0] - memory, after[1] - nodes, seen[0] - begun)


WARM_UP = 100
"""Refreshes after which the page has all that it keeps."""


def _refresh(tab: Page, run: RunDir, seen: list[int], steps: Iterator[int], wanted: int, seconds: float) -> None:
    """So many refreshes; every third brings a step, the others a sample of memory."""
    first, deadline = seen[0], time.monotonic() + seconds
    while seen[0] < first + wanted and time.monotonic() < deadline:
        before = seen[0]
        if before % 3:
            add_sample(run)
        else:
            add_step(run, next(steps))
        late = time.monotonic() + 60.0
        while seen[0] == before:
            if time.monotonic() > late:
                raise RuntimeError(f"the page does not refresh any more after {seen[0]:,} times")
            tab.wait_for_timeout(5)


def add_sample(run: RunDir) -> None:
    held = [{"pid": 100, "name": "ray::worker", "role": "policy", "mb": 300.0}]
    point = {"time": time.time(), "phase": "generating", "source": "pss", "total_mb": 300.0, "processes": held}
    rundir.append_line(run.memory, point)


def games(run: RunDir) -> list[Row]:
    with Store(run.path.parent / "runs.db") as store:

        def ask(wanted: GameFilter) -> None:
            page(store, run.id, wanted)

        searched = [GameFilter(text=text) for text in searches(run.path)]
        return [
            Row("page of games, filtered, p95", "ms", p95(ask, filters() * 3)),
            Row("page of games, searched, p95", "ms", p95(ask, searched)),
        ]  # fmt: skip


def measure(run: RunDir, others: Path, times: int, minutes: float) -> Iterator[Row]:
    with ExitStack() as stack:
        play = stack.enter_context(sync_playwright())
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        address = stack.enter_context(dashboard(run.path.parent, 7871)) + f"?run={run.id}&tab=live"
        cold = {"ours": navigations(browser, address, OURS, times)}
        fresh: dict[str, Refreshes] = {}
        for name, where in stack.enter_context(serving(others)).items():
            cold[name] = navigations(browser, answering_at(where), DRAWN[name], times)
            with closing(opened(browser, where, DRAWN[name])) as tab:
                fresh[name] = refreshes(name, tab, others, OTHERS_EXTRA)
        yield Row(
            "cold navigation to the drawn curve, median", "s", **{name: median(all) for name, all in cold.items()}
        )
        yield Row("the first of these, server just started", "s", **{name: all[0] for name, all in cold.items()})
        with live(run):
            tab = opened(browser, address, OURS)
            shown, size = new_steps(tab, run, state.read(run).step + 1)
            tab.close()
        yield Row("new step to the open page, p95", "s", shown, **{name: one.seconds for name, one in fresh.items()})
        yield Row("bytes of a refresh, p95", "kB", size / 1e3, **{name: one.kilobytes for name, one in fresh.items()})
        if minutes:
            with live(run, tick=0.01):
                grown = growth(browser.new_page(viewport=WINDOW), run, address, minutes)
            yield Row(f"growth of its memory in {grown.refreshes:,} refreshes", "MB", grown.megabytes)
            yield Row("growth of its nodes in the same", "nodes", grown.nodes)
        browser.close()


def opened(browser: Browser, address: str, drawn: str) -> Page:
    """A page of its own, drawn and left in peace for a while."""
    tab = browser.new_page(viewport=WINDOW)
    tab.goto(address)
    tab.wait_for_function(drawn, timeout=120_000)
    tab.wait_for_timeout(PEACE)
    return tab


def answering_at(where: str) -> str:
    answering(where.split("#")[0])
    return where


def told(rows: list[Row], times: Callable[[float, float], str]) -> Iterator[str]:
    yield f"{'':<46}{'ours':>12}{'trackio':>22}{'TensorBoard':>22}"
    for row in rows:
        cells = [f"{row.ours:,.2f} {row.unit}"]
        for other in (row.trackio, row.tensorboard):
            cells.append("-" if other is None else f"{other:,.2f} {row.unit} ({times(other, row.ours)})")
        yield f"{row.what:<46}{cells[0]:>12}{cells[1]:>22}{cells[2]:>22}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path("/tmp/bigruns"), help="folder of runs; made if it is not there"
    )
    parser.add_argument("--others", type=Path, default=Path("/tmp/bigruns-others"), help="the same for the other tools")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--games", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=5, help="navigations, of which the median counts")
    parser.add_argument(
        "--hour", type=float, default=0.0, metavar="MINUTES", help="also the refreshes of an hour, in at most so many"
    )
    asked = parser.parse_args()
    asked.data.mkdir(parents=True, exist_ok=True)
    run = built(asked.data.resolve(), asked.steps, asked.games)
    write_others(asked.others, asked.steps)
    print(f"{asked.steps:,} steps of 20 metrics, {asked.games:,} games, a step of {STEP_SECONDS:g} s")
    rows = [*games(run), *measure(run, asked.others, asked.times, asked.hour)]
    print(*told(rows, lambda other, ours: f"{other / ours:.1f} x"), sep="\n")


if __name__ == "__main__":
    main()
