"""Evaluations: asked for, looked at, indexed. One folder each, in runs/evaluations; `evaluation_work` works them off."""

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from launcher import (
    devices,
    evaluation_devices,
    evaluation_models,
    evaluation_result,
    process,
    rundir,
    store_evaluations,
)
from launcher.config import DEMO_MODEL, Rollout
from launcher.process import Identity
from launcher.reading import Unreadable, config_of, reading
from launcher.rundir import PROJECT, UnknownRun, read_json, write_json
from launcher.runs import Refused, Runs
from launcher.store import Store
from medical_team import evaluation as ev
from medical_team import prompts
from medical_team.evaluation import How, Job, Progress, sets
from medical_team.evaluation.sets import DEMO, NoteSet, View
from medical_team.judge.settings import JudgeSettings

OF_NO_RUN = Rollout(max_new_tokens=512, max_len=1024)
"""Sampling of models that are of no run."""

Ending = Literal["done", "stopped", "failed"]


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
    """greedy: the likeliest words. sampled: at `temperature` and `top_p`, as in training."""
    attack: bool = False
    """Let every model rewrite the notes too, and every model read the faithful rewrites of every one."""
    keep_seen: bool = False
    """Keep notes of cases that one of the runs was trained on. Otherwise they are left out, for all models."""
    temperature: float | None = Field(default=None, gt=0, le=5)
    """Of sampled replies and of attacks. Without one: that of the first run among the models, else 1."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Share of the probability mass that those are sampled from. Without one: that of the first run, else 1."""
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
    """Judge of the attacks. Without one: that of `judge_from`, else of the first run among the models, else `reference`."""
    judge_from: str | None = None
    """A run whose judge is to judge the attacks. `reference`, which models of no run have without one, can tell only of the
    demo's notes what an unknown rewrite means."""


class State(BaseModel):
    """state.json. `worker` is the launcher's process that works the evaluation off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["running"] | Ending = "running"
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
    lock = property(lambda self: self.path / "state.lock")
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
    """None before the worker told of any. Errors: Unreadable."""
    path = one.path / ev.PROGRESS
    with reading(path):
        return Progress.model_validate_json(path.read_bytes()) if path.exists() else None


def look(one: EvalDir) -> State:
    """The state, made true: an evaluation whose process is gone has failed, and what that left is ended.

    Errors: Unreadable.
    """
    now = _read(one)
    if now.state == "running" and now.worker and not process.alive(now.worker):
        process.end(one.id, None)
        now = end(one, "failed", "its process ended before it was done")
    return now


def _read(one: EvalDir) -> State:
    with reading(one.state):
        return State.model_validate(read_json(one.state))


@contextmanager
def _held(one: EvalDir) -> Iterator[State]:
    """The state as it is, which is this process's to change."""
    with one.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield _read(one)


def belongs_to(one: EvalDir, worker: Identity | None) -> None:
    """Writes down the launcher's process that works the evaluation off; one that has ended stays as it is."""
    with _held(one) as now:
        if now.state == "running":
            write_json(one.state, now.model_copy(update={"worker": worker}).model_dump(mode="json"))


def end(one: EvalDir, how: Ending, reason: str | None = None) -> State:
    """Writes the end down and takes the copies of models away; whoever is second finds how it ended. Errors: Unreadable."""
    with _held(one) as now:
        if now.state == "running":
            shutil.rmtree(one.path / ev.MODELS, ignore_errors=True)
            now = now.model_copy(update={"state": how, "ended": time.time(), "reason": reason})
            write_json(one.state, now.model_dump(mode="json"))
        return now


def create(runs: Runs, request: Request) -> EvalDir:
    """Writes the evaluation's folder; starts nothing. Errors: Refused, UnknownRun, DataError, OSError, Unreadable."""
    if request.device == devices.GPUS:
        evaluation_devices.free(runs.folder)
    players = tuple(evaluation_models.player(runs, name, request.style) for name in dict.fromkeys(request.models))
    found = notes_of(request)
    seen = set() if request.keep_seen else evaluation_models.taught(runs, request.models)
    kept = sets.without(found.notes, seen)
    if not kept:
        raise Refused(
            f"every case of {found.name} was trained on by one of these runs: choose other notes, or keep_seen"
        )
    harmful, safe = sets.balance(kept)
    settings = job(runs, request, players)
    now = time.time()
    made = EvalDir(folder(runs) / rundir.new_id(now))
    made.path.mkdir(parents=True)
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
    """What is not asked for is as the first run among the models has it."""
    of_run = next((found for name in request.models if (found := evaluation_models.config(runs, name))), None)
    usual = of_run.rollout if of_run else OF_NO_RUN
    judges = config_of(rundir.find(runs.folder, request.judge_from)) if request.judge_from else of_run
    return Job(
        players=players, how=tuple(dict.fromkeys(request.how)), attack=request.attack,
        temperature=request.temperature or usual.temperature, top_p=request.top_p or usual.top_p,
        most_tokens=request.most_tokens or usual.max_new_tokens, seed=request.seed, device=request.device,
        gpu_share=request.gpu_share, judge=request.judge or (judges.judge if judges else JudgeSettings()),
    )  # fmt: skip


def start(runs: Runs, one: EvalDir) -> None:
    """Hands the evaluation to a process of its own and returns at once."""
    argv = [sys.executable, "-m", "launcher", "evaluate", "--work", one.id]
    env = os.environ | {"SECOND_OPINION_RUNS": str(runs.folder)}
    who = process.detach(argv, env, one.path / "launcher.log", PROJECT)
    belongs_to(one, who)


def stop(one: EvalDir) -> None:
    """Asks its process to end. Errors: Refused."""
    if look(one).state != "running":
        raise Refused(f"evaluation {one.id} is not running")
    one.stop.touch()


def index(store: Store, one: EvalDir) -> None:
    """Brings the index's rows of one evaluation to what its files say."""
    told, found = about(one), result(one)
    with store.write():
        store_evaluations.put(
            store, one.id, told.created, told.notes, told.request.models, evaluation_result.rows(found) if found else []
        )


def refresh(runs: Runs, store: Store) -> list[str]:
    """Takes the rows of every evaluation that is done and not in the index; why some could not be taken."""
    known, problems = store_evaluations.known(store), []
    for one in every(runs):
        if one.id not in known and one.result.exists():
            try:
                index(store, one)
            except Unreadable as error:
                problems.append(str(error))
    return problems
