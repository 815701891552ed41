"""CUSTOM_CONFIGS: the settings of the game, under the guide's key names."""

import difflib
import json
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medical_team.types import ErrorType


class RewardType(StrEnum):
    GENERAL_SUM = "medical_general_sum"
    ZERO_SUM = "medical_zero_sum"


class RewardCoefficients(BaseModel):
    """Factors on the parts of the reward table; 1 leaves a part as the table has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    verdict: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Assessor: the answer agrees with the truth. In the zero-sum game the attacker's loss is as large."""
    faithful: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Attacker: the note is what the category asked for."""
    deception: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Attacker: the assessor was wrong. Not of the zero-sum game."""
    realism: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Attacker: the judge called the note realistic."""
    format: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Both: the reply kept to the format."""


class GameConfig(BaseModel):
    """The guide's CUSTOM_CONFIGS. Reaches the trainer as the environment variable of that name."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_turns: Literal[2] = 2
    """Turns of a game: the attacker's, then the assessor's. The game is defined for two."""
    reward_type: RewardType = RewardType.GENERAL_SUM
    """medical_general_sum is the reward table; medical_zero_sum pays the attacker what the assessor loses."""
    remove_ties: bool = True
    """Drop and replace games that have no truth. Otherwise such a game pays both players exactly 0."""
    error_types: tuple[ErrorType, ...] = Field(
        default=(ErrorType.DOSAGE, ErrorType.DIAGNOSIS, ErrorType.CONTRAINDICATION, ErrorType.MANAGEMENT), min_length=1
    )
    """Kinds of error: selects the cases, and names what an attacker is asked for."""
    direct_chat_no_cot: bool = False
    """Let both players answer at once, without thinking first."""
    no_attacker_turn: bool = False
    """Make every game vanilla: the assessor reads the notes of the data set as they are."""
    no_defender_turn: bool = False
    """Train the attacker alone, against an assessor that stays as it was at the start."""
    reward_coeff_config: RewardCoefficients = RewardCoefficients()
    """Factors on the parts of the reward table."""

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest_key(cls, values):
        if isinstance(values, dict):
            for key in values.keys() - cls.model_fields.keys():
                near = difflib.get_close_matches(str(key), cls.model_fields, n=1, cutoff=0.0)
                raise ValueError(f"unknown key {key!r}; did you mean {near[0]!r}?")
        return values

    @field_validator("max_turns", mode="before")
    @classmethod
    def _two_turns(cls, value):
        if value != 2:
            raise ValueError("a game has 2 turns, the attacker's and the assessor's; set max_turns to 2")
        return 2

    @field_validator("error_types")
    @classmethod
    def _no_kind_twice(cls, value):
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _someone_must_learn(self):
        if self.no_attacker_turn and self.no_defender_turn:
            raise ValueError("no_attacker_turn and no_defender_turn together leave nobody to train; unset one of them")
        return self

    def to_json(self) -> str:
        """The value of the environment variable CUSTOM_CONFIGS."""
        return json.dumps(self.model_dump(mode="json"))
