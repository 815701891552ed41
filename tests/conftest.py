import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from launcher import engine, process, rundir, state
from launcher.reading import Unreadable
from launcher.rundir import RunDir
from launcher.runs import Runs

PROJECT = Path(__file__).parent.parent
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts in the background ignore it


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in the same hook
def pytest_collection_modifyitems(items):
    """Under pytest-xdist: real jobs, which want the whole machine, one after the other, and beside them file by file the
    rest."""

    def is_job(item) -> bool:
        return bool(item.get_closest_marker("engine") and item.get_closest_marker("e2e"))

    for item in items:
        item.add_marker(pytest.mark.xdist_group("jobs" if is_job(item) else item.module.__name__))
    items.sort(key=is_job, reverse=True)  # begun first, they take as long as all the rest


@pytest.fixture(scope="module", autouse=True)
def one_browser_a_module():
    """Browser tests open it with their module's first page; while it is open, no other test could run an event loop."""
    yield
    if browser := sys.modules.get("browser"):
        browser.close()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def supervisor_of(run: RunDir) -> process.Identity | None:
    with suppress(Unreadable):
        now = state.read(run)
        return now.supervisor if now and process.alive(now.supervisor) else None
    return None


def fake_engine(folder: Path) -> dict[str, str]:
    """The variables of an engine that trains nothing, whose interpreter is written into the folder."""
    script = folder / "python"
    script.write_text(f"#!{sys.executable}\n" + (PROJECT / "tests" / "fake_engine.py").read_text(encoding="utf-8"))
    script.chmod(0o755)
    return {"ENGINE_PYTHON": str(script), "FAKE_VERSIONS": json.dumps(engine.pins(engine.lock("cpu")))}


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A folder for runs, and an engine that trains nothing: `fake("done", steps=3)` says how its trainer ends.

    With `hold=2` the trainer goes on after step 2 only once the file `fake.gate` is there. Whatever a test
    leaves running is ended.
    """
    for name, value in fake_engine(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SECOND_OPINION_RUNS", str(tmp_path / "runs"))

    def choose(ending: str, steps: int = 3, pace: float = 0.05, hold: int = 0) -> Runs:
        monkeypatch.setenv("FAKE_TRAINER", ending)
        monkeypatch.setenv("FAKE_STEPS", str(steps))
        monkeypatch.setenv("FAKE_PACE", str(pace))
        monkeypatch.setenv("FAKE_HOLD", str(hold))
        return Runs.here()

    choose.gate = tmp_path / "gate"
    monkeypatch.setenv("FAKE_GATE", str(choose.gate))
    yield choose
    while left := [run for run in rundir.every(tmp_path / "runs") if supervisor_of(run) or process.marked(run.id)]:
        for run in left:
            if supervisor := supervisor_of(run):  # killed, it cannot start the next of the queue
                os.kill(supervisor.pid, signal.SIGKILL)
            process.end(run.id, None)


@pytest.fixture(scope="session")
def engine_python() -> str:
    """The CPU engine's interpreter; the test is skipped on a machine without it, and fails in CI."""
    found = engine.find("cpu")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(engine.missing("cpu"))
        pytest.skip(engine.missing("cpu"))
    return str(found.python)
