"""The process that works an evaluation off: it keeps the device, starts the worker, and writes what came of it."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from launcher import engine, evaluation_devices, evaluation_result, evaluations, process
from launcher.evaluations import EvalDir, State
from launcher.reading import reading
from launcher.rundir import PROJECT
from launcher.runs import Refused, Runs
from launcher.store import Store
from medical_team import evaluation as ev
from medical_team.evaluation import Job, Progress
from medical_team.judge.settings import LOCAL

TICK = 0.3
GRACE = 10.0
"""Seconds that the worker is given to end by itself."""


def work(runs: Runs, one: EvalDir, say: Callable[[Progress], None] = lambda now: None) -> State:
    """Sees the evaluation through to its end, in this process."""
    evaluations.belongs_to(one, process.identify(os.getpid()))
    try:
        if why := _on_device(runs, one, say):
            return evaluations.end(one, "stopped" if one.stop.exists() else "failed", why)
        told = evaluations.about(one)
        evaluation_result.write(one.path, evaluation_result.compute(one.path), told.source, told.text)
    except BaseException as error:
        evaluations.end(one, "failed", f"{type(error).__name__}: {error}")
        raise
    done = evaluations.end(one, "done")
    with Store(runs.store_path) as store:
        evaluations.index(store, one)
    return done


def _on_device(runs: Runs, one: EvalDir, say: Callable[[Progress], None]) -> str | None:
    """Runs the worker while the device is this evaluation's; returns why it did not finish, None if it did."""
    with reading(one.path / ev.JOB):
        settings = Job.model_validate_json((one.path / ev.JOB).read_bytes())
    try:
        with evaluation_devices.held(runs.folder, one.id, settings.device) as own:
            return _ask_models(one, settings, own, say)
    except Refused as error:
        return str(error)


def _ask_models(one: EvalDir, settings: Job, own: Mapping[str, str], say: Callable[[Progress], None]) -> str | None:
    found = engine.find(settings.device)
    if found is None:
        return engine.missing(settings.device)
    environment = {key: value for key, value in os.environ.items() if key not in engine.UNSET[settings.device]}
    environment |= engine.environment(settings.device, found.versions) | offline(settings) | own | process.mark(one.id)
    child = process.spawn(
        [str(found.python), "-m", "medical_team.evaluation.worker", str(one.path)], environment, one.log, PROJECT
    )
    try:
        while child.poll() is None:
            if one.stop.exists():
                return "stopped as asked"
            if told := evaluations.progress(one):
                say(told)
            time.sleep(TICK)
    finally:
        _finish(child)
        process.end(one.id, None)  # what has left the worker's session
    return None if child.returncode == 0 else f"the worker failed: {_last_line(one.log)}; {one.log} has all of it"


def offline(settings: Job) -> Mapping[str, str]:
    """Nothing is looked up on the hub where every model is a folder: the players', and of attacks the judge's."""
    models = [one.model for one in settings.players]
    if settings.attack and settings.judge.kind == LOCAL:
        models.append(settings.judge.model)
    return {"HF_HUB_OFFLINE": "1"} if all(Path(one).is_dir() for one in models) else {}


def _finish(child: subprocess.Popen) -> None:
    """Ends the worker and whatever it started, if that still runs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
            return


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b\w*(Error|Exception)\b: ", line)]
    return (errors or lines or ["it said nothing"])[-1].strip()[-500:]
