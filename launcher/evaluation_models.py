"""Names of models as people give them, and what they stand for: runs, checkpoints, folders, hub names."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from launcher import rundir
from launcher.config import DEMO_MODEL, RunConfig
from launcher.prepare import WARM_START
from launcher.rundir import RunDir
from launcher.runs import DEMO_MODEL_FOLDER, Refused, Runs, config_of
from medical_team import demo_model, prompts
from medical_team.evaluation import Player, sets
from medical_team.opponents import SAVED_LAST

START = "start"
_OF_RUN = re.compile(r"(?P<run>\d{8}-\d{6}-[0-9a-f]{4})(?:@(?P<at>start|\d+))?")
_HUB = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def player(runs: Runs, name: str, style: prompts.Style | None) -> Player:
    """What `name` stands for. Errors: Refused, UnknownRun, Unreadable."""
    if found := _OF_RUN.fullmatch(name):
        return _of_run(rundir.find(runs.folder, found["run"]), name, found["at"])
    if name == DEMO_MODEL:
        return demo(DEMO_MODEL_FOLDER, style)
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise Refused(f"{path} holds no model: there is no config.json in it")
        return _of_folder(path, name, style)
    if not _HUB.fullmatch(name):
        raise Refused(f"{name!r} is no run, no checkpoint (ID@STEP), no folder and no hub name")
    return Player(name=name, model=name, style=style or "full")


def demo(folder: Path, style: prompts.Style | None = None) -> Player:
    """The demo model that is built in this folder. Errors: Refused for one that is missing or out of date."""
    if problem := demo_model.check(folder):
        raise Refused(problem)
    return Player(name=DEMO_MODEL, model=str(folder.resolve()), style=style or "short")


def _of_folder(path: Path, name: str, style: prompts.Style | None) -> Player:
    """A model in a run's folder is asked as that run asked it."""
    model = str(path.resolve())
    if run := _holding(path):
        config = config_of(run)
        thinking = not config.custom_configs.direct_chat_no_cot
        return Player(name=name, model=model, style=style or config.prompt_style, thinking=thinking)
    short = (path / "skill.json").exists()
    return Player(name=name, model=model, style=style or ("short" if short else "full"))


def _of_run(run: RunDir, name: str, at: str | None) -> Player:
    config = config_of(run)
    told = {"name": name, "style": config.prompt_style, "thinking": not config.custom_configs.direct_chat_no_cot}
    base = str(run.warm_start) if config.warm_start.steps else config.policy
    if at == START:
        return Player(model=base, **told)
    if at is None:
        if not (run.model / "config.json").exists():
            raise Refused(f"run {run.id} has no final model; it has: {', '.join(choices(run))}")
        return Player(model=str(run.model), **told)
    whole, parts = run.checkpoints / f"global_step{at}_hf", run.checkpoints / "_actor" / f"global_step{at}"
    if (whole / SAVED_LAST).exists():
        return Player(model=str(whole), **told)
    if not parts.is_dir():
        raise Refused(f"run {run.id} has no checkpoint of step {at}; it has: {', '.join(choices(run))}")
    return Player(model=base, checkpoint=parts, **told)


def choices(run: RunDir) -> list[str]:
    """The names of all models of a run, in the order of their making."""
    whole = (folder for folder in run.checkpoints.glob("global_step*_hf") if (folder / SAVED_LAST).exists())
    folders = (*whole, *run.checkpoints.glob("_actor/global_step*"))
    steps = {int(found[1]) for one in folders if (found := re.fullmatch(r"global_step(\d+)(?:_hf)?", one.name))}
    final = [run.id] if (run.model / "config.json").exists() else []
    return [f"{run.id}@{START}", *(f"{run.id}@{step}" for step in sorted(steps)), *final]


def config(runs: Runs, name: str) -> RunConfig | None:
    """Settings of the run that the model is of; None for a model of no run. Errors: UnknownRun, Unreadable."""
    run = run_of(runs, name)
    return config_of(run) if run else None


def run_of(runs: Runs, name: str) -> RunDir | None:
    """The run that made the model, by its id or by the folder that the model lies in; None for a model of no run."""
    if found := _OF_RUN.fullmatch(name):
        return rundir.find(runs.folder, found["run"])
    return _holding(Path(name)) if Path(name).is_dir() else None


def _holding(model: Path) -> RunDir | None:
    """The run in whose folder the model lies."""
    for folder in model.resolve().parents:
        if rundir.is_id(folder.name) and (folder / "config.json").is_file():
            return RunDir(folder)
    return None


def taught(runs: Runs, names: Iterable[str]) -> set[str]:
    """Fingerprints of all notes that the models among `names` have learnt from: in their runs, and in the runs whose
    models those started from. Errors: UnknownRun, Unreadable, OSError, DataError."""
    found: set[str] = set()
    for run in dict.fromkeys(run for name in names for run in _line_of_descent(runs, name)):
        found |= sets.trained_on(run.data / "train.jsonl")
        if config_of(run).warm_start.steps:
            found |= sets.demonstrated(run.data / WARM_START)
    return found


def _line_of_descent(runs: Runs, name: str) -> Iterator[RunDir]:
    """The model's run, the run of that one's policy, and so on."""
    known: set[RunDir] = set()
    run = run_of(runs, name)
    while run and run not in known:
        known.add(run)
        yield run
        run = run_of(runs, config_of(run).policy)
