import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from medical_team.config import GameConfig, RewardType
from medical_team.types import ErrorType

GUIDE = """{
    "max_turns": 2,
    "reward_type": "medical_general_sum",
    "remove_ties": true,
    "error_types": ["dosage", "diagnosis", "contraindication", "management"]
}"""


def test_the_guides_own_json_is_the_default():
    assert GameConfig.model_validate_json(GUIDE) == GameConfig()


def test_the_environment_variable_round_trips():
    config = GameConfig(
        reward_type=RewardType.ZERO_SUM, error_types=[ErrorType.DRUG_INTERACTION], no_attacker_turn=True
    )
    assert GameConfig.model_validate_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reward_typ": "medical_zero_sum"}, "unknown key 'reward_typ'; did you mean 'reward_type'?"),
        ({"max_turns": 4}, "a game has 2 turns"),
        ({"error_types": []}, "at least 1 item"),
        ({"error_types": ["allergy"]}, "'dosage'"),
        ({"no_attacker_turn": True, "no_defender_turn": True}, "nobody to train"),
        ({"reward_coeff_config": {"verdict": -1}}, "greater than or equal to 0"),
        ({"reward_coeff_config": {"verdict": float("nan")}}, "finite"),
    ],
)
def test_a_wrong_setting_says_what_is_right(values, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        GameConfig.model_validate(values)


def test_every_field_explains_itself():
    schema = json.dumps(GameConfig.model_json_schema())
    assert all(field.description for field in GameConfig.model_fields.values())
    assert "description" in schema


def test_no_prompt_asks_for_another_format_than_the_parser_reads():
    folder = Path(__file__).parent.parent / "medical_team" / "prompts" / "full"
    text = (folder / "format_cot.txt").read_text()
    example = text.splitlines()[1]
    from medical_team.parsing import parse_reply

    assert parse_reply(example) == ("your thoughts", "your answer", "ok")
