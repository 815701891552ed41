"""Data: from a source to the rows that OpenRLHF reads. Done before anything starts: bad data says so in time."""

import json
from collections.abc import Sequence
from pathlib import Path

from launcher.config import Mode, RunConfig
from medical_team import data, demo_world, medec
from medical_team.config import GameConfig
from medical_team.demonstrations import demonstrations
from medical_team.types import Case

DEMO = {
    "source": "The demo world: notes written out from tables of facts, about nobody.",
    "licence": "Apache-2.0, with this project",
    "citation": "None needed.",
}
WARM_START = "warm-start.jsonl"
VANILLA = GameConfig(no_attacker_turn=True)


class NoCases(ValueError):
    """The source holds too few cases for what was asked; the message has the numbers."""


def cases(source: str, path: Path | None, count: int, seed: int) -> list[Case]:
    """All cases of the source. Errors: medec.DataError names file, lines and reasons; OSError for a path."""
    return medec.read_medec(path) if source == "medec" else demo_world.cases(count, seed)


def origin(source: str, path: Path | None, seed: int) -> data.Origin:
    return data.medec_origin([path], seed) if source == "medec" else data.Origin(**DEMO, seed=seed)


def for_run(config: RunConfig, out: Path) -> data.Card:
    """Writes a run's rows: exactly as many as its steps take, and its evaluation notes. Errors: as `cases`; NoCases."""
    settings, game = config.data, config.custom_configs
    found = data.select(cases(settings.source, settings.path, settings.cases, config.seed), game.error_types)
    splits = _split(data.deduplicate(found), settings.eval_cases if config.eval.steps else 0, config.seed)
    played = VANILLA if config.mode is Mode.ASSESSOR_ONLY else game
    train = data.recast(data.samples(splits.train, game.error_types), played)
    rows = data.training_rows(train, config.train.steps * config.rollout.batch_size, config.seed)
    evaluation = data.rows(data.recast(data.samples(splits.eval, game.error_types), VANILLA), "eval")
    card = data.write_dataset(out, rows, evaluation, origin(settings.source, settings.path, config.seed))
    if config.warm_start.steps:
        write_demonstrations(config, splits.train, out / WARM_START)
    return card


def write_demonstrations(config: RunConfig, cases: Sequence[Case], path: Path) -> None:
    """Exactly as many as the warm start takes, from training cases alone."""
    found = demonstrations(
        cases, config.warm_start.steps * config.warm_start.batch_size, config.seed, config.prompt_style,
        not config.custom_configs.direct_chat_no_cot, config.custom_configs.error_types,
    )  # fmt: skip
    lines = (json.dumps(one._asdict(), ensure_ascii=False) + "\n" for one in found)
    path.write_text("".join(lines), encoding="utf-8")


def for_sharing(source: str, path: Path | None, count: int, eval_cases: int, game: GameConfig, seed: int, out: Path):
    """Writes every sample of the source once, as a data set of its own. Errors: as `for_run`."""
    found = data.deduplicate(data.select(cases(source, path, count, seed), game.error_types))
    splits = _split(found, eval_cases, seed)
    train = data.rows(data.recast(data.samples(splits.train, game.error_types), game), "train")
    evaluation = data.rows(data.recast(data.samples(splits.eval, game.error_types), VANILLA), "eval")
    return data.write_dataset(out, train, evaluation, origin(source, path, seed))


def _split(found: list[Case], eval_cases: int, seed: int) -> data.Splits:
    if len(found) <= eval_cases:
        raise NoCases(
            f"{len(found)} cases of the chosen error types, {eval_cases} of them for evaluation: none is left to train "
            "on; choose more error types, or lower data.eval_cases"
        )
    return data.split(found, eval_cases, seed)
