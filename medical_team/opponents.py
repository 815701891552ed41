"""Frozen opponents: past models that hold one seat of some games, so that beating oneself is not the only aim."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from medical_team.agent_settings import AgentSettings
from medical_team.config import GameConfig
from medical_team.frozen import FrozenModel
from medical_team.game import Table
from medical_team.types import Role, Sample

_STEP = re.compile(r"global_step(\d+)_hf")
SAVED_LAST = "tokenizer.json"
"""Of a checkpoint in the Hugging Face format: without it the rest may be broken off."""


@dataclass(frozen=True)
class Opponent:
    name: str
    """Folder or hub name, as game records have it."""
    model: FrozenModel


class Opponents:
    """The start model, and the newest checkpoint; both stay loaded. A checkpoint that cannot be loaded is left out."""

    def __init__(self, settings: AgentSettings, load: Callable[[str], FrozenModel] = FrozenModel):
        self._settings, self._model = settings, load
        self._loaded: dict[str, FrozenModel] = {}
        self._broken: set[str] = set()

    def draw(self, sample: Sample, step: int, config: GameConfig) -> Opponent | None:
        """The opponent for this sample in this step; None where the policy plays both seats.

        A step has one opponent, so that its games make one batch. The same run draws the same games again.
        """
        settings = self._settings
        if config.no_defender_turn:
            return self.start()
        lot = random.Random(f"{settings.seed} {step} {sample.id}").random()
        if not sample.category.adversarial or lot >= settings.frozen_share:
            return None
        name = name_of(step, settings.frozen_model, settings.checkpoints)
        try:
            return self.start() if name in self._broken else self._load(name)
        except Exception as error:  # raised, it would end the run, and every resume of it
            if name == settings.frozen_model:
                raise
            print(f"frozen opponent {name} does not load, the start model plays: {type(error).__name__}: {error}")
            self._broken.add(name)
            return self.start()

    def start(self) -> Opponent:
        """The start model."""
        return self._load(self._settings.frozen_model)

    def _load(self, name: str) -> Opponent:
        start = self._settings.frozen_model
        if name not in self._loaded:
            if name != start:
                self._loaded = {old: model for old, model in self._loaded.items() if old == start}
            self._loaded[name] = self._model(name)
        return Opponent(name, self._loaded[name])


def name_of(step: int, start: str, checkpoints: Path) -> str:
    """The model that plays in this step: the start model in odd steps, in even ones the newest checkpoint before it."""
    found = {int(match[1]): folder for folder in checkpoints.glob("global_step*_hf")
             if (match := _STEP.fullmatch(folder.name)) and (folder / SAVED_LAST).exists()}  # fmt: skip
    past = [saved for saved in found if saved < step]
    return str(found[max(past)]) if past and step % 2 == 0 else start


def against(table: Table, opponent: Opponent, config: GameConfig) -> list[Table]:
    """Tables at which the policy has one seat and the opponent the other: one for each role that is trained."""
    policy = table.attacker
    frozen = opponent.model.player(policy.sampling)
    attacking = replace(table, assessor=frozen, opponent=opponent.name, trained=frozenset({Role.ATTACKER}))
    assessing = replace(table, attacker=frozen, opponent=opponent.name, trained=frozenset({Role.ASSESSOR}))
    return [attacking] if config.no_defender_turn else [attacking, assessing]


def seats(table: Table, mode: str) -> int:
    """Trajectories that a game at this table gives."""
    return 1 if mode == "eval" else len(table.trained)
