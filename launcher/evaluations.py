"""Evaluations: asked for, worked off by a process of their own, looked at. One folder each, in runs/evaluations."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from launcher import engine, evaluation_models, evaluation_result, process, rundir, store_evaluations
from launcher.config import DEMO_MODEL
from launcher.process import Identity
from launcher.reading import reading
from launcher.rundir import PROJECT, UnknownRun, read_json, write_json
from launcher.runs import Refused, Runs
from launcher.store import Store
from medical_team import evaluation as ev
from medical_team import prompts
from medical_team.evaluation import How, Job, Progress, sets
from medical_team.evaluation.sets import DEMO, NoteSet, View
from medical_team.judge.settings import JudgeSettings

TICK = 0.3
GRACE = 10.0
"""Seconds that the worker is given to end by itself."""


class Request(BaseModel):
    """What is to be evaluated on what."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    models: tuple[str, ...] = Field(default=(DEMO_MODEL,), min_length=1, max_length=12)
    """Each a run's id (its final model), ID@STEP (a checkpoint), ID@start (what it started from), `demo`, a folder, or a
    hub name. The first is the one that the others are compared with."""
    data: str = Field(default=DEMO, min_length=1)
    """`demo` for the demo world's held-out notes, or the path of a MEDEC file or of rows in the project's own form."""
    view: View = "pairs"
    """pairs: each error note and its corrected twin. published: a MEDEC file's notes with their flags, as they stand."""
    cases: int = Field(default=100, ge=1, le=100_000)
    """Cases of the demo world; each gives two notes."""
    how: tuple[How, ...] = Field(default=(How.GREEDY, How.SAMPLED), min_length=1)
    """greedy: the likeliest words. sampled: at `temperature`, as in training."""
    attack: bool = False
    """Let every model rewrite the notes too, and every model read the faithful rewrites of every one."""
    keep_seen: bool = False
    """Keep notes of cases that one of the runs was trained on. Otherwise they are left out, for all models."""
    temperature: float = Field(default=1.0, gt=0, le=5)
    """Of sampled replies and of attacks."""
    most_tokens: int | None = Field(default=None, ge=1)
    """Most tokens of a reply. Without one: what the first run among the models allowed, else 512."""
    style: prompts.Style | None = None
    """Prompts of models that are of no run. Without one: short for the demo model, full for others."""
    device: Literal["cpu", "cuda"] = "cpu"
    gpu_share: float = Field(default=0.8, gt=0, lt=1)
    """Share of the GPU's memory that a model and its cache take."""
    seed: int = Field(default=42, ge=0, lt=2**31)
    """Of sampling."""
    judge: JudgeSettings | None = None
    """Judge of the attacks. Without one: that of the first run among the models, else `reference`."""


class State(BaseModel):
    """state.json. `worker` is the launcher's process that works the evaluation off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["running", "done", "stopped", "failed"] = "running"
    worker: Identity | None = None
    started: float
    ended: float | None = None
    reason: str | None = None


class About(BaseModel):
    """evaluation.json: what was asked, and what the notes are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    created: float
    request: Request
    notes: str
    source: str
    credit: str
    harmful: int
    safe: int
    left_out: int
    """Notes of cases that a run was trained on."""

    @property
    def text(self) -> str:
        seen = f"; {self.left_out} more were left out, for a run was trained on their cases" if self.left_out else ""
        credit = f" {self.credit}." if self.credit else ""
        return f"{self.notes}: {self.harmful} harmful notes and {self.safe} safe ones{seen}.{credit}"


@dataclass(frozen=True)
class EvalDir:
    """Paths of one evaluation."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    about = property(lambda self: self.path / "evaluation.json")
    state = property(lambda self: self.path / "state.json")
    stop = property(lambda self: self.path / "stop")
    log = property(lambda self: self.path / "worker.log")
    result = property(lambda self: self.path / evaluation_result.RESULT)


def folder(runs: Runs) -> Path:
    return runs.folder / "evaluations"


def every(runs: Runs) -> list[EvalDir]:
    """All evaluations, oldest first."""
    found = sorted(folder(runs).iterdir()) if folder(runs).is_dir() else []
    return [EvalDir(one) for one in found if rundir.is_id(one.name) and (one / "evaluation.json").is_file()]


def find(runs: Runs, id: str) -> EvalDir:
    """Errors: UnknownRun, also for anything that is no id."""
    if not rundir.is_id(id) or not (folder(runs) / id / "evaluation.json").is_file():
        raise UnknownRun(
            f"no evaluation {id!r} in {folder(runs)}; `python -m launcher evaluations` shows what there is"
        )
    return EvalDir(folder(runs) / id)


def about(one: EvalDir) -> About:
    """Errors: Unreadable."""
    with reading(one.about):
        return About.model_validate_json(one.about.read_bytes())


def result(one: EvalDir) -> evaluation_result.Result | None:
    """None before it is done. Errors: Unreadable."""
    with reading(one.result):
        return evaluation_result.Result.model_validate_json(one.result.read_bytes()) if one.result.exists() else None


def progress(one: EvalDir) -> Progress | None:
    path = one.path / ev.PROGRESS
    return Progress.model_validate_json(path.read_bytes()) if path.exists() else None


def look(one: EvalDir) -> State:
    """The state, made true: an evaluation whose process is gone has failed. Errors: Unreadable."""
    with reading(one.state):
        now = State.model_validate(read_json(one.state))
    if now.state == "running" and now.worker and not process.alive(now.worker):
        now = _end(one, now, "failed", "its process ended before it was done")
    return now


def create(runs: Runs, request: Request) -> EvalDir:
    """Writes the evaluation's folder; starts nothing. Errors: Refused, UnknownRun, DataError, OSError, Unreadable."""
    players = tuple(evaluation_models.player(runs, name, request.style) for name in dict.fromkeys(request.models))
    found = notes_of(request)
    seen = set() if request.keep_seen else evaluation_models.taught(runs, request.models)
    kept = sets.without(found.notes, seen)
    if not kept:
        raise Refused(
            f"every case of {found.name} was trained on by one of these runs: choose other notes, or keep_seen"
        )
    harmful, safe = sets.balance(kept)
    now = time.time()
    made = EvalDir(folder(runs) / rundir.new_id(now))
    made.path.mkdir(parents=True)
    settings = job(runs, request, players)
    (made.path / ev.JOB).write_text(settings.model_dump_json(indent=2), encoding="utf-8")
    ev.write_lines(made.path / ev.NOTES, kept)
    told = About(
        id=made.id, created=now, request=request, notes=found.name, source=found.source, credit=found.credit,
        harmful=harmful, safe=safe, left_out=len(found.notes) - len(kept),
    )  # fmt: skip
    write_json(made.state, State(started=now).model_dump(mode="json"))
    write_json(made.about, told.model_dump(mode="json"))
    return made


def notes_of(request: Request) -> NoteSet:
    return sets.demo(request.cases) if request.data == DEMO else sets.read(Path(request.data), request.view)


def job(runs: Runs, request: Request, players: tuple[ev.Player, ...]) -> Job:
    of_run = next((found for name in request.models if (found := evaluation_models.config(runs, name))), None)
    tokens = request.most_tokens or (of_run.rollout.max_new_tokens if of_run else 512)
    return Job(
        players=players, how=tuple(dict.fromkeys(request.how)), attack=request.attack, temperature=request.temperature,
        most_tokens=tokens, seed=request.seed, device=request.device, gpu_share=request.gpu_share,
        judge=request.judge or (of_run.judge if of_run else JudgeSettings()),
    )  # fmt: skip


def start(runs: Runs, one: EvalDir) -> None:
    """Hands the evaluation to a process of its own and returns at once."""
    argv = [sys.executable, "-m", "launcher", "evaluate", "--work", one.id]
    env = os.environ | {"SECOND_OPINION_RUNS": str(runs.folder)}
    who = process.detach(argv, env, one.path / "launcher.log", PROJECT)
    write_json(one.state, look(one).model_copy(update={"worker": who}).model_dump(mode="json"))


def stop(one: EvalDir) -> None:
    """Asks its process to end. Errors: Refused."""
    if look(one).state != "running":
        raise Refused(f"evaluation {one.id} is not running")
    one.stop.touch()


def work(runs: Runs, one: EvalDir, say: Callable[[Progress], None] = lambda now: None) -> State:
    """Sees the evaluation through to its end, in this process."""
    now = look(one).model_copy(update={"worker": process.identify(os.getpid())})
    write_json(one.state, now.model_dump(mode="json"))
    try:
        if why := _ask_models(one, say):
            return _end(one, now, "stopped" if one.stop.exists() else "failed", why)
        told = about(one)
        evaluation_result.write(one.path, evaluation_result.compute(one.path), told.source, told.text)
    except BaseException as error:
        _end(one, now, "failed", f"{type(error).__name__}: {error}")
        raise
    done = _end(one, now, "done", None)
    with Store(runs.store_path) as store:
        index(store, one)
    return done


def _ask_models(one: EvalDir, say: Callable[[Progress], None]) -> str | None:
    """Runs the worker; returns why it did not finish, None if it did."""
    settings = Job.model_validate_json((one.path / ev.JOB).read_bytes())
    found = engine.find(settings.device)
    if found is None:
        return engine.missing(settings.device)
    environment = {key: value for key, value in os.environ.items() if key not in engine.UNSET[settings.device]}
    environment |= engine.environment(settings.device, found.versions) | _offline(settings)
    child = process.spawn(
        [str(found.python), "-m", "medical_team.evaluation.worker", str(one.path)], environment, one.log, PROJECT
    )
    try:
        while child.poll() is None:
            if one.stop.exists():
                return "stopped as asked"
            if told := progress(one):
                say(told)
            time.sleep(TICK)
    finally:
        _finish(child)
    return None if child.returncode == 0 else f"the worker failed: {_last_line(one.log)}; {one.log} has all of it"


def _offline(settings: Job) -> Mapping[str, str]:
    return {"HF_HUB_OFFLINE": "1"} if all(Path(one.model).is_dir() for one in settings.players) else {}


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


def _end(one: EvalDir, now: State, how: str, reason: str | None) -> State:
    ended = State(state=how, worker=now.worker, started=now.started, ended=time.time(), reason=reason)
    write_json(one.state, ended.model_dump(mode="json"))
    return ended


def index(store: Store, one: EvalDir) -> None:
    """Brings the index's rows of one evaluation to what its files say."""
    told, found = about(one), result(one)
    with store.write():
        store_evaluations.put(
            store, one.id, told.created, told.notes, told.request.models, evaluation_result.rows(found) if found else []
        )


def refresh(runs: Runs, store: Store) -> None:
    """The rows of every evaluation that is done and not in the index."""
    known = store_evaluations.known(store)
    for one in every(runs):
        if one.id not in known and one.result.exists():
            index(store, one)
