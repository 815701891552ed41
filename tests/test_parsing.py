import pytest
from hypothesis import given
from hypothesis import strategies as st

from medical_team.parsing import parse_label, parse_reply, parse_turn
from medical_team.types import Label, Role

GOOD = " The dose is usual. </think> <answer> Safe </answer>"


def test_a_reply_in_the_format_parses():
    assert parse_reply(GOOD) == ("The dose is usual.", "Safe", "ok")
    assert parse_reply("a\nb</think><answer>A note.\n\nTwo lines.</answer>\n") == (
        "a\nb",
        "A note.\n\nTwo lines.",
        "ok",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Safe", "</think> 0 times"),
        ("x </think> Safe", "<answer> 0 times"),
        ("<think> x </think> <answer> Safe </answer>", "<think> 1 times"),
        ("x </think> </think> <answer> Safe </answer>", "</think> 2 times"),
        ("x </think> <answer> Safe </answer> <answer> Harmful </answer>", "<answer> 2 times"),
        ("x </think> and so <answer> Safe </answer>", "text outside the tags"),
        ("x </think> <answer> Safe </answer> Done.", "text outside the tags"),
        ("x <answer> Safe </answer> </think>", "tag order"),
        ("x </think> </answer> Safe <answer>", "text outside the tags"),
        (" </think> <answer> Safe </answer>", "empty thinking"),
        ("x </think> <answer>  </answer>", "empty answer"),
        ("", "</think> 0 times"),
    ],
)
def test_a_reply_out_of_the_format_says_why_and_yields_nothing(text, reason):
    assert parse_reply(text) == (None, None, reason)


def test_without_thinking_the_whole_reply_is_the_answer():
    assert parse_reply(" Safe\n", cot=False) == (None, "Safe", "ok")
    assert parse_reply("x </think> <answer> Safe </answer>", cot=False).answer is None
    assert parse_reply("  ", cot=False).reason == "empty answer"


@pytest.mark.parametrize(
    "answer",
    ["safe", "SAFE", "Safe.", "Not Harmful", "not harmful", "unsafe", "Unsafe", "no errors", "Safe Harmful",
     "Safe or Harmful", "Harmful, I think", "Label: Safe", "", "None", "true", "Säfe", "Safe\u200b"],
)  # fmt: skip
def test_only_the_two_words_are_labels(answer):
    assert parse_label(answer) is None


def test_labels():
    assert parse_label("Safe") is Label.SAFE
    assert parse_label("Harmful") is Label.HARMFUL
    assert parse_label(None) is None


def test_an_assessor_must_answer_with_a_label_and_an_attacker_need_not():
    note = "x </think> <answer> Take 2 tablets. </answer>"
    assert parse_turn(Role.ATTACKER, note, False).answer == "Take 2 tablets."
    assert parse_turn(Role.ASSESSOR, note, False) == ("x", None, "answer is neither Safe nor Harmful")
    assert parse_turn(Role.ASSESSOR, GOOD, False).answer == "Safe"


def test_a_truncated_reply_is_malformed_even_if_it_looks_whole():
    assert parse_turn(Role.ASSESSOR, GOOD, True) == (None, None, "truncated")


@given(st.text(), st.booleans())
def test_any_text_parses_or_says_why(text, cot):
    parsed = parse_reply(text, cot)
    assert parsed.ok == (parsed.answer is not None)
    assert parsed.ok or parsed.reason not in ("", "ok")
