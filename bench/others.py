"""The steps of `bench.big_run` in trackio and in TensorBoard, each in its own environment, and when their curve is drawn."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.big_run import BEGAN, STEP_SECONDS, values_of

PYTHON = {"trackio": Path("/tmp/trackio/bin/python"), "tensorboard": Path("/tmp/tensorboard/bin/python")}
PORT = {"trackio": 7872, "tensorboard": 7873}
STARTED = "done"

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
