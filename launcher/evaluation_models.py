"""Names of models as people give them, and what they stand for: runs, checkpoints, folders, hub names."""

import re
from collections.abc import Iterable
from pathlib import Path

from launcher import rundir
from launcher.config import DEMO_MODEL, RunConfig
from launcher.rundir import RunDir
from launcher.runs import DEMO_MODEL_FOLDER, Refused, Runs, config_of
from medical_team import prompts
from medical_team.evaluation import Player, sets

START = "start"
_OF_RUN = re.compile(r"(?P<run>\d{8}-\d{6}-[0-9a-f]{4})(?:@(?P<at>start|\d+))?")
_HUB = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def player(runs: Runs, name: str, style: prompts.Style | None) -> Player:
    """What `name` stands for. Errors: Refused, UnknownRun, Unreadable."""
    if found := _OF_RUN.fullmatch(name):
        return _of_run(rundir.find(runs.folder, found["run"]), name, found["at"])
    path = DEMO_MODEL_FOLDER if name == DEMO_MODEL else Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise Refused(f"{path} holds no model: there is no config.json in it")
        short = (path / "skill.json").exists()
        return Player(name=name, model=str(path.resolve()), style=style or ("short" if short else "full"))
    if not _HUB.fullmatch(name) or name == DEMO_MODEL:
        raise Refused(f"{name!r} is no run, no checkpoint (ID@STEP), no folder and no hub name")
    return Player(name=name, model=name, style=style or "full")


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
    if (whole / "config.json").exists():
        return Player(model=str(whole), **told)
    if not parts.is_dir():
        raise Refused(f"run {run.id} has no checkpoint of step {at}; it has: {', '.join(choices(run))}")
    return Player(model=base, checkpoint=parts, **told)


def choices(run: RunDir) -> list[str]:
    """The names of all models of a run, in the order of their making."""
    folders = (*run.checkpoints.glob("global_step*_hf"), *run.checkpoints.glob("_actor/global_step*"))
    steps = {int(found[1]) for one in folders if (found := re.fullmatch(r"global_step(\d+)(?:_hf)?", one.name))}
    final = [run.id] if (run.model / "config.json").exists() else []
    return [f"{run.id}@{START}", *(f"{run.id}@{step}" for step in sorted(steps)), *final]


def config(runs: Runs, name: str) -> RunConfig | None:
    """Settings of the run that the model is of; None for a model of no run."""
    found = _OF_RUN.fullmatch(name)
    return config_of(rundir.find(runs.folder, found["run"])) if found else None


def training_rows(runs: Runs, names: Iterable[str]) -> set[str]:
    """Fingerprints of all notes that the runs among `names` were trained on."""
    ids = dict.fromkeys(found["run"] for name in names if (found := _OF_RUN.fullmatch(name)))
    return set().union(*(sets.trained_on(runs.folder / id / "data" / "train.jsonl") for id in ids))
