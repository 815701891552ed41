"""The queue under a crowd: `.venv/bin/python -m bench.many_jobs [--jobs 1000] [--processes 8] [--gpus 0]`. Prints one table.

Processes that know nothing of each other create runs and start them, all at once, and go on trying to start whatever is next
until nothing waits. The trainer is the tests' fake one, which writes down when it began and ended, on which device. With
--gpus half of the runs wait for as many GPUs by name; the machine needs a driver, and none of them is used.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from launcher import engine, queue, report, rundir, state  # noqa: E402
from launcher.config import resolve  # noqa: E402
from launcher.runs import Runs  # noqa: E402

TINY = {"policy": "some/model", "data.cases": 20, "data.eval_cases": 4, "train.steps": 1, "eval.steps": 0}
HEADS = (
    "jobs", "processes", "devices", "done", "ran once", "ran twice", "never ran", "most at once on a device",
    "first in, first out", "seconds", "jobs/s",
)  # fmt: skip


class Trainer(NamedTuple):
    """What one trainer wrote down. Seconds of one clock for the whole machine."""

    run: str
    device: str
    begun: float
    ended: float


class Outcome(NamedTuple):
    trainers: tuple[Trainer, ...]
    states: tuple[state.State, ...]
    seconds: float


def environment(folder: Path, gpus: int) -> dict[str, str]:
    """With an engine that trains nothing."""
    python = folder / "python"
    python.write_text(f"#!{sys.executable}\n" + (PROJECT / "tests" / "fake_engine.py").read_text(encoding="utf-8"))
    python.chmod(0o755)
    pins = {name: pin for device in ("cpu", "cuda") for name, pin in engine.pins(engine.lock(device)).items()}
    return os.environ | {
        "ENGINE_PYTHON": str(python), "FAKE_VERSIONS": json.dumps(pins), "FAKE_TRAINER": "done", "FAKE_STEPS": "1",
        "FAKE_PACE": "0", "FAKE_LEDGER": str(folder / "ledger"), "SECOND_OPINION_RUNS": str(folder / "runs"),
        "PYTHONPATH": str(PROJECT), "CUDA_VISIBLE_DEVICES": ",".join(map(str, range(gpus))),
    }  # fmt: skip


def crowd(jobs: int, processes: int, gpus: int = 0) -> Outcome:
    """Runs them all to their end."""
    with tempfile.TemporaryDirectory(prefix="so-queue-") as name:
        folder = Path(name)
        (folder / "runs").mkdir()
        env, begun = environment(folder, gpus), time.monotonic()
        shares = [len(range(one, jobs, processes)) for one in range(processes)]
        argv = [sys.executable, "-m", "bench.many_jobs", "--gpus", str(gpus), "--one-of-the-crowd"]
        working = [subprocess.Popen([*argv, str(share)], env=env, cwd=PROJECT) for share in shares]
        if any([one.wait() for one in working]):
            raise RuntimeError("one of the crowd failed")
        seconds = time.monotonic() - begun
        states = tuple(state.read(run) for run in rundir.every(folder / "runs"))
        return Outcome(read(folder / "ledger"), states, seconds)


def one_of_the_crowd(jobs: int, gpus: int) -> None:
    here = Runs.here()
    for number in range(jobs):
        preset = "single-gpu-80gb" if gpus and number % 2 else "cpu-demo"
        here.start(here.create(resolve(preset, TINY | {"data.source": "demo"})))
    while queue.waiting(here.folder):
        here.advance()
        time.sleep(0.2)
    for run in rundir.every(here.folder):
        here.wait(run)


def read(ledger: Path) -> tuple[Trainer, ...]:
    begun, found = {}, []
    for line in ledger.read_text(encoding="utf-8").splitlines():
        word, run, device, pid, at = line.split()
        if word == "begun":
            begun[pid, run] = float(at)
        else:
            found.append(Trainer(run, device, begun.pop((pid, run)), float(at)))
    return (*found, *(Trainer(run, "?", at, float("inf")) for (_, run), at in begun.items()))


def most_at_once(trainers: tuple[Trainer, ...]) -> int:
    """On any one device."""
    marks = sorted(mark for one in trainers for mark in ((one.begun, 1, one.device), (one.ended, -1, one.device)))
    now, most = Counter(), 0
    for _, change, device in marks:
        now[device] += change
        most = max(most, now[device])
    return most


def in_order(outcome: Outcome) -> bool:
    """On each kind of device the runs began in the order in which they were queued."""
    lines = [[now for now in outcome.states if (now.devices == ("cpu",)) == cpu] for cpu in (True, False)]
    return all(
        [now.started for now in line] == sorted(now.started for now in line)
        for line in (sorted(line, key=lambda now: now.queued) for line in lines)
    )


def row(jobs: int, processes: int, gpus: int, outcome: Outcome) -> tuple:
    ran = Counter(one.run for one in outcome.trainers)
    return (
        jobs, processes, 1 + gpus, sum(now.state == state.End.DONE for now in outcome.states),
        sum(times == 1 for times in ran.values()), sum(times > 1 for times in ran.values()), jobs - len(ran),
        most_at_once(outcome.trainers), "yes" if in_order(outcome) else "no", outcome.seconds, jobs / outcome.seconds,
    )  # fmt: skip


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--jobs", type=int, default=1000)
    asked.add_argument("--processes", type=int, default=8)
    asked.add_argument("--gpus", type=int, default=0)
    asked.add_argument("--one-of-the-crowd", type=int, default=0, metavar="JOBS", help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.one_of_the_crowd:
        return one_of_the_crowd(given.one_of_the_crowd, given.gpus)
    outcome = crowd(given.jobs, given.processes, given.gpus)
    print(report.columns([HEADS, row(given.jobs, given.processes, given.gpus, outcome)]))
    for now in outcome.states:
        if now.state != state.End.DONE:
            print(now.state, now.reason)


if __name__ == "__main__":
    main()
