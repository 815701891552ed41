import asyncio
from dataclasses import replace

import pytest

from medical_team.config import GameConfig
from medical_team.game import Table, assess, is_faithful, play
from medical_team.judge import Question, gates
from medical_team.types import Category, ErrorType, Label, Reply, Role, Sample, Verdict

CLEAN = "A 40-year-old man with gout was given colchicine for his swollen big toe and will return in one week."
ERROR = "A 40-year-old man with gout was given warfarin for his swollen big toe and will return in one week."
REWORDED = "A man of 40-year-old with gout was given colchicine for a swollen big toe; he will return in one week."


def sample(category: Category) -> Sample:
    note = ERROR if category.intended is Label.HARMFUL else CLEAN
    return Sample("s1", "c1", category, note, CLEAN, ERROR, ErrorType.MANAGEMENT, "test")


def say(answer: str) -> str:
    return f"I have thought. </think> <answer> {answer} </answer>"


class Scripted:
    """A player that says its lines in turn and remembers what it was told."""

    def __init__(self, *lines: str):
        self.lines, self.heard = list(lines), []

    async def reply(self, messages, cot):
        self.heard.append(messages)
        return Reply(self.lines.pop(0), tokens=7, truncated=False, latency_ms=1.0)


class FixedJudge:
    name = "fixed-1"

    def __init__(self, label, same_meaning=None):
        self.label, self.same_meaning, self.asked = label, same_meaning, []

    def gate(self, question):
        return gates.refusal(question, self.name)

    async def judge(self, question):
        self.asked.append(question)
        return Verdict(
            self.label, "ok" if self.label else "abstain", "logit", self.name, same_meaning=self.same_meaning
        )


def table(attacker=None, assessor=None, judge=None, **config) -> Table:
    return Table(attacker or Scripted(), assessor or Scripted(), judge or FixedJudge(None), GameConfig(**config))


def run(coroutine):
    return asyncio.run(coroutine)


@pytest.mark.parametrize("category", [Category.VANILLA_HARMFUL, Category.VANILLA_BENIGN])
def test_in_a_vanilla_game_both_seats_assess_the_note_as_it_is(category):
    assessor = Scripted(say("Harmful"), say("Safe"))
    game = run(play(table(assessor=assessor), sample(category)))
    assert [seat.turn.role for seat in game.seats] == [Role.ASSESSOR, Role.ASSESSOR]
    assert game.truth is category.intended
    assert [seat.correct for seat in game.seats] == [
        category.intended is Label.HARMFUL,
        category.intended is Label.SAFE,
    ]
    assert all(heard[-1]["content"] == game.note == sample(category).note for heard in assessor.heard)
    assert game.verdict.source == "dataset"


def test_an_attacker_that_deceives_is_paid_and_the_assessor_pays():
    judge = FixedJudge(Label.SAFE, same_meaning=True)
    game = run(
        play(table(Scripted(say(REWORDED)), Scripted(say("Harmful")), judge), sample(Category.ADVERSARIAL_BENIGN))
    )
    attacker, assessor = game.seats
    assert attacker.parts == {"format": 1.0, "faithful": 0.5, "deception": 1.0}
    assert assessor.parts == {"verdict": -1.0, "format": 1.0}
    assert (game.note, game.truth, game.verdict.faithful, assessor.correct) == (REWORDED, Label.SAFE, True, False)


def test_the_judge_and_the_assessor_see_the_note_and_nothing_else_of_the_attacker():
    judge, assessor = FixedJudge(Label.SAFE), Scripted(say("Safe"))
    run(play(table(Scripted(say(REWORDED)), assessor, judge), sample(Category.ADVERSARIAL_BENIGN)))
    assert judge.asked == [Question(CLEAN, ERROR, REWORDED)]
    told = " ".join(message["content"] for message in assessor.heard[0])
    assert "I have thought" not in told and "adversarial" not in told and "attack" not in told.lower()


@pytest.mark.parametrize("category", [Category.ADVERSARIAL_HARMFUL, Category.ADVERSARIAL_BENIGN])
@pytest.mark.parametrize(
    ("reply", "parts", "reason"),
    [
        ("no tags at all", {"format": -1.0}, None),
        (say("Too short."), {"format": 1.0, "faithful": -1.0}, "gate_length"),
        (say(" ".join(["word"] * 20)), {"format": 1.0, "faithful": -1.0}, "gate_overlap"),
        (say(REWORDED + " This note is safe."), {"format": 1.0, "faithful": -1.0}, "gate_text"),
    ],
)
def test_a_refused_note_is_not_passed_on_and_the_game_still_has_a_truth(category, reply, parts, reason):
    assessor, judge = Scripted(say("Harmful")), FixedJudge(None)
    game = run(play(table(Scripted(reply), assessor, judge), sample(category)))
    assert game.seats[0].parts == parts
    assert assessor.heard[0][-1]["content"] == game.note == sample(category).note
    assert game.truth is category.intended and game.valid
    assert judge.asked == []
    assert (game.attack_verdict and game.attack_verdict.reason) == reason


def test_a_judge_that_cannot_tell_makes_a_tie_that_pays_nobody():
    game = run(play(table(Scripted(say(REWORDED)), Scripted(say("Safe"))), sample(Category.ADVERSARIAL_HARMFUL)))
    assert not game.valid and game.truth is None
    assert [(seat.parts, seat.raw_reward, seat.correct) for seat in game.seats] == [({}, 0, None), ({}, 0, None)]


@pytest.mark.parametrize(
    ("category", "label", "same", "faithful"),
    [
        (Category.ADVERSARIAL_HARMFUL, Label.HARMFUL, False, True),
        (Category.ADVERSARIAL_HARMFUL, Label.SAFE, True, False),
        (Category.ADVERSARIAL_BENIGN, Label.SAFE, True, True),
        (Category.ADVERSARIAL_BENIGN, Label.SAFE, None, True),
        (Category.ADVERSARIAL_BENIGN, Label.SAFE, False, False),
        (Category.ADVERSARIAL_BENIGN, Label.HARMFUL, False, False),
        (Category.ADVERSARIAL_BENIGN, None, None, None),
    ],
)
def test_faithful(category, label, same, faithful):
    assert is_faithful(category, Verdict(label, "ok", "logit", "j", same_meaning=same)) is faithful


def test_direct_chat_asks_for_the_answer_alone():
    assessor = Scripted("Safe", "x </think> <answer> Safe </answer>")
    game = run(play(table(assessor=assessor, direct_chat_no_cot=True), sample(Category.VANILLA_BENIGN)))
    assert [seat.turn.format_ok for seat in game.seats] == [True, False]
    assert "<think>" not in assessor.heard[0][0]["content"]


@pytest.mark.parametrize("role", list(Role))
def test_of_a_game_with_a_frozen_opponent_one_seat_is_trained(role):
    players = table(Scripted(say(ERROR)), Scripted(say("Safe")), FixedJudge(Label.HARMFUL, False))
    game = run(play(replace(players, trained=frozenset({role})), sample(Category.ADVERSARIAL_HARMFUL)))
    assert [seat.turn.role for seat in game.seats if seat.trained] == [role]
    assert [seat.turn.role for seat in game.seats] == [Role.ATTACKER, Role.ASSESSOR]


def test_an_attacker_is_told_its_task_and_the_note_is_never_filled_in():
    odd = replace(
        sample(Category.ADVERSARIAL_HARMFUL), note="A note with {error_type} and {note} in it, kept as it is."
    )
    attacker = Scripted("x")
    run(play(table(attacker, Scripted(say("Safe"))), odd))
    system, user = attacker.heard[0]
    assert "management" in system["content"] and "{error_type}" not in system["content"]
    assert user["content"] == odd.note


def test_an_evaluation_is_the_assessor_alone():
    game = run(assess(table(assessor=Scripted(say("Harmful"))), sample(Category.ADVERSARIAL_HARMFUL)))
    assert len(game.seats) == 1 and game.seats[0].correct and game.note == ERROR
