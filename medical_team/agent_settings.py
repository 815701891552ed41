"""What the agent inside the training engine must know of its run, beyond CUSTOM_CONFIGS. Written by the launcher."""

import os
import socket
from pathlib import Path
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field

from medical_team import prompts
from medical_team.config import GameConfig
from medical_team.judge.settings import JudgeSettings

SETTINGS, CUSTOM_CONFIGS = "SECOND_OPINION", "CUSTOM_CONFIGS"
"""The environment variables that carry `AgentSettings` and `GameConfig`, as JSON."""


class AgentSettings(BaseModel):
    """One start of one run, as its rollout processes see it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    run: str
    games: Path
    """Folder of the run's game records."""
    attempt: int = Field(default=1, ge=1)
    start_step: int = Field(default=0, ge=0)
    """The step of the checkpoint that this start goes on from."""
    prompts_per_step: int = Field(gt=0)
    """Training prompts that one rollout engine gets for one step."""
    style: prompts.Style = "full"
    baseline_decay: float = Field(default=0.95, ge=0, lt=1)
    role_baseline: bool = True
    """Take from each reward what its role usually earns in its category."""
    judge: JudgeSettings = JudgeSettings()
    frozen_model: str | None = None
    """The start model, where it plays: as a frozen opponent, or as the assessor where `no_defender_turn` trains the
    attacker alone."""
    frozen_share: float = Field(default=0.0, ge=0, le=0.5)
    """Share of the adversarial games that are played against a frozen opponent."""
    checkpoints: Path | None = None
    """Folder of the run's checkpoints, from which past opponents come."""
    seed: int = 0
    """Draws which games have a frozen opponent."""

    @property
    def writer(self) -> str:
        """Names this process's game records: unique within the run, also where its engines are on several machines."""
        return f"{self.attempt}-{crc32(socket.gethostname().encode()):08x}-{os.getpid()}"

    def to_environment(self, config: GameConfig) -> dict[str, str]:
        return {SETTINGS: self.model_dump_json(), CUSTOM_CONFIGS: config.to_json()}


def from_environment() -> tuple[AgentSettings, GameConfig]:
    """The settings of this process. Errors: KeyError names the variable that is not set."""
    return (
        AgentSettings.model_validate_json(os.environ[SETTINGS]),
        GameConfig.model_validate_json(os.environ[CUSTOM_CONFIGS]),
    )
