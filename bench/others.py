"""The steps of `bench.big_run` in trackio and in TensorBoard, each in its own environment, and when their curve is drawn."""

import json
import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Page, Response

from bench.big_run import BEGAN, STEP_SECONDS, values, values_of

PYTHON = {"trackio": Path("/tmp/trackio/bin/python"), "tensorboard": Path("/tmp/tensorboard/bin/python")}
PORT = {"trackio": 7872, "tensorboard": 7873}
STARTED, ADDED = "done", "added"
FIRST_ADDED = 200_000
"""Later than any step of `write_others`."""

# Each reads JSON lines of [time, step, {name: value}] and writes them as its tool keeps them.
WRITE = {
    "trackio": """
import datetime, json, sys
from trackio.sqlite_storage import SQLiteStorage
def put(rows):
    times = [datetime.datetime.fromtimestamp(time, datetime.timezone.utc).isoformat() for time, _, _ in rows]
    SQLiteStorage.bulk_log("bench", "big", [values for _, _, values in rows], [step for _, step, _ in rows], times)
rows = []
for line in sys.stdin:
    rows.append(json.loads(line))
    if len(rows) == 5000:
        put(rows); rows = []
if rows: put(rows)
""",
    "tensorboard": """
import json, sys
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
writer = EventFileWriter(sys.argv[1])
for line in sys.stdin:
    time, step, values = json.loads(line)
    scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    writer.add_event(Event(wall_time=time, step=step, summary=Summary(value=scalars)))
writer.close()
""",
}
# The same, but each line is written at once.
ADD = {
    "trackio": """
import datetime, json, sys
from trackio.sqlite_storage import SQLiteStorage
for line in sys.stdin:
    time, step, values = json.loads(line)
    at = datetime.datetime.fromtimestamp(time, datetime.timezone.utc).isoformat()
    SQLiteStorage.bulk_log("bench", "big", [values], [step], [at])
""",
    "tensorboard": WRITE["tensorboard"].replace("value=scalars)))", "value=scalars)))\n    writer.flush()"),
}
SERVE = {
    "trackio": (
        "import trackio; "
        "trackio.show('bench', open_browser=False, block_thread=True, host='127.0.0.1', server_port={port})"
    ),
    "tensorboard": (
        "import sys; from tensorboard import main; "
        "sys.argv = ['tensorboard', '--logdir', {folder!r}, '--port', '{port}', '--host', '127.0.0.1']; main.run_main()"
    ),
}
PAGE = {
    "trackio": "http://127.0.0.1:{port}/?project=bench&metrics=reward",
    "tensorboard": "http://127.0.0.1:{port}/?tagFilter=%5Ereward%24#timeseries",
}
DRAWN = {
    "trackio": "[...document.querySelectorAll('canvas, svg path')].some((one) => one.getBoundingClientRect().width > 150)",
    "tensorboard": "document.querySelector('line-chart .series-view canvas, line-chart .series-view svg path') !== null",
}

POINTS = {"trackio": "/api/get_logs_batch", "tensorboard": "/timeseries/timeSeries"}
"""What the answers that hold a curve's points end with."""
RELOAD = {"trackio": None, "tensorboard": "app-header-reload button"}
"""What has to be pressed for new points: TensorBoard's page does not ask for any by itself."""


class Refreshes(NamedTuple):
    seconds: float
    """p95, from a step's writing to the page's receiving it."""
    kilobytes: float
    """p95 of one refresh: of its answer with the points alone."""


def present() -> list[str]:
    return [name for name, python in PYTHON.items() if python.exists()]


def environment(name: str, folder: Path) -> dict[str, str]:
    own = {"TRACKIO_DIR": str(folder / name), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    return os.environ | own


def write_others(folder: Path, steps: int) -> None:
    """The same values as in the big run's log; what is written already is left as it is."""
    for name in present():
        mark = folder / name / STARTED
        if mark.exists():
            continue
        mark.parent.mkdir(parents=True, exist_ok=True)
        argv = [str(PYTHON[name]), "-c", WRITE[name], str(folder / name)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, text=True, env=environment(name, folder)) as child:
            for step, found in values_of(steps):
                child.stdin.write(json.dumps([BEGAN + STEP_SECONDS * step, step, found]) + "\n")
            child.stdin.close()
            if child.wait():
                raise RuntimeError(f"{name} did not take the steps; its errors stand above")
        mark.touch()


def refreshes(name: str, tab: Page, folder: Path, steps: int) -> Refreshes:
    """New steps on an open page of this tool. Drawing them is not in it."""
    mark = folder / name / ADDED
    first = int(mark.read_text()) + 1 if mark.exists() else FIRST_ADDED
    sizes: list[int] = []
    newest: list[str] = [""]

    def hear(answer: Response) -> None:
        if answer.url.endswith(POINTS[name]):
            newest[0] = answer.text()
            sizes.append(len(answer.body()))

    tab.on("response", hear)
    found = []
    argv = [str(PYTHON[name]), "-c", ADD[name], str(folder / name)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, text=True, env=environment(name, folder)) as child:
        for step in range(first, first + steps):
            child.stdin.write(json.dumps([BEGAN + STEP_SECONDS * step, step, values(step, random.Random(step))]) + "\n")
            child.stdin.flush()
            mark.write_text(str(step))
            found.append(_seconds_until(lambda step=step: re.search(rf"\b{step}\b", newest[0]), tab, RELOAD[name]))
        child.stdin.close()
    tab.remove_listener("response", hear)
    return Refreshes(sorted(found)[int(0.95 * steps)], sorted(sizes)[int(0.95 * len(sizes))] / 1e3)


def _seconds_until(there: Callable[[], object], tab: Page, reload: str | None) -> float:
    """Presses what has to be pressed once a second."""
    begun = time.perf_counter()
    pressed = 0.0
    while not there():
        now = time.perf_counter() - begun
        if now > 60.0:
            raise RuntimeError(f"no new step within a minute at {tab.url}")
        if reload and now >= pressed:
            tab.locator(reload).click()
            pressed += 1.0
        tab.wait_for_timeout(20)
    return time.perf_counter() - begun


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """Addresses of the curve's page, by tool."""
    with ExitStack() as stack, tempfile.TemporaryFile() as log:
        for name in present():
            code = SERVE[name].format(port=PORT[name], folder=str(folder / name))
            child = subprocess.Popen(
                [str(PYTHON[name]), "-c", code], env=environment(name, folder), stdout=log, stderr=log
            )
            stack.enter_context(child)
            stack.callback(child.terminate)
        yield {name: PAGE[name].format(port=PORT[name]) for name in present()}
