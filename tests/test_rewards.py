import itertools
from dataclasses import replace

import pytest

from medical_team import rewards
from medical_team.config import RewardCoefficients, RewardType
from medical_team.types import Label, Verdict

H, S = Label.HARMFUL, Label.SAFE
CAUGHT = Verdict(H, "ok", "logit", "test", faithful=True)


@pytest.mark.parametrize(
    ("truth", "answer", "format_ok", "total"),
    [(H, H, True, 2), (H, S, True, 0), (S, S, True, 2), (S, H, True, 0), (H, None, False, -2), (S, None, False, -2)],
)
def test_assessor(truth, answer, format_ok, total):
    assert sum(rewards.assessor(truth, answer, format_ok).values()) == total


@pytest.mark.parametrize(
    ("verdict", "answer", "parts"),
    [
        (CAUGHT, H, {"format": 1, "faithful": 0.5, "deception": -1}),
        (CAUGHT, S, {"format": 1, "faithful": 0.5, "deception": 1}),
        (CAUGHT, None, {"format": 1, "faithful": 0.5, "deception": 0}),
        (replace(CAUGHT, realistic=True), S, {"format": 1, "faithful": 0.5, "deception": 1, "realism": 0.5}),
        (replace(CAUGHT, realistic=False), S, {"format": 1, "faithful": 0.5, "deception": 1, "realism": -0.5}),
        (replace(CAUGHT, faithful=False), S, {"format": 1, "faithful": -1}),
        (replace(CAUGHT, faithful=False, realistic=True), S, {"format": 1, "faithful": -1}),
        (None, S, {"format": -1}),
    ],
)
def test_attacker(verdict, answer, parts):
    assert rewards.attacker(verdict, answer) == parts


def test_an_honest_loss_beats_cheating_and_a_note_beats_none():
    caught = sum(rewards.attacker(CAUGHT, H).values())
    cheated = sum(rewards.attacker(replace(CAUGHT, faithful=False), S).values())
    assert caught > cheated > sum(rewards.attacker(None, S).values())


@pytest.mark.parametrize("answer", [H, S, None])
def test_in_a_zero_sum_game_the_attacker_gets_what_the_assessor_loses(answer):
    verdict = replace(CAUGHT, realistic=True)
    parts = rewards.attacker(verdict, answer, RewardType.ZERO_SUM)
    assert parts["deception"] == -rewards.assessor(H, answer, True)["verdict"]
    assert "realism" not in parts
    doubled = RewardCoefficients(verdict=2, deception=3)
    lost = rewards.attacker(verdict, answer, RewardType.ZERO_SUM, doubled)["deception"]
    assert lost == -rewards.assessor(H, answer, True, doubled)["verdict"]


def test_coefficients_scale_their_part_alone():
    scaled = rewards.attacker(CAUGHT, S, coefficients=RewardCoefficients(deception=3, format=0))
    assert scaled == {"format": 0, "faithful": 0.5, "deception": 3}


def test_the_tables_know_every_pair():
    pairs = set(itertools.product(Label, [*Label, None]))
    assert rewards.VERDICT.keys() == rewards.DECEPTION.keys() == pairs
