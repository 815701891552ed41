"""Reads what a player wrote. A parser returns the value or None and never searches for one."""

import re
from typing import NamedTuple

from medical_team.types import Label, Role

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
LABELS = {label.value: label for label in Label}

_REPLY = re.compile(r"\s*(?P<thinking>.*?)\s*</think>\s*<answer>\s*(?P<answer>.*?)\s*</answer>\s*", re.DOTALL)


class Parsed(NamedTuple):
    """`thinking` and `answer` are None where the reply broke the format; `reason` is then what was wrong."""

    thinking: str | None
    answer: str | None
    reason: str

    @property
    def ok(self) -> bool:
        return self.reason == "ok"


def parse_reply(text: str, cot: bool = True) -> Parsed:
    """A reply to a prompt that ended in `<think>`: `thinking </think> <answer> answer </answer>`, each tag once.

    Without `cot` the whole reply is the answer, and no tag may stand in it.
    """
    if not cot:
        if any(tag in text for tag in TAGS):
            return Parsed(None, None, "a tag in a direct answer")
        return Parsed(None, text.strip(), "ok") if text.strip() else Parsed(None, None, "empty answer")
    for tag in TAGS:
        if (count := text.count(tag)) != (tag != "<think>"):
            return Parsed(None, None, f"{tag} {count} times")
    match = _REPLY.fullmatch(text)
    if match is None:
        return Parsed(
            None, None, "text outside the tags" if text.find("</think>") < text.find("<answer>") else "tag order"
        )
    if not match["thinking"]:
        return Parsed(None, None, "empty thinking")
    if not match["answer"]:
        return Parsed(None, None, "empty answer")
    return Parsed(match["thinking"], match["answer"], "ok")


def parse_turn(role: Role, text: str, truncated: bool, cot: bool = True) -> Parsed:
    """A whole turn: the reply's format, and for an assessor an answer that is exactly one of the two words."""
    if truncated:
        return Parsed(None, None, "truncated")
    parsed = parse_reply(text, cot)
    if parsed.ok and role is Role.ASSESSOR and parse_label(parsed.answer) is None:
        return Parsed(parsed.thinking, None, "answer is neither Safe nor Harmful")
    return parsed


def parse_label(answer: str | None) -> Label | None:
    """The assessor's label. None unless the answer is exactly one of the two words."""
    return LABELS.get(answer) if answer is not None else None
