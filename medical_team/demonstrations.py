"""Demonstrations of both seats for a supervised warm start, so that a raw model learns the format before it plays.

They are written out from what is known of a case: the demo world's facts, or the two notes of a MEDEC pair. They teach how a
reply is built; what a model does not know of medicine they do not teach it.
"""

import random
from collections.abc import Collection, Iterator, Sequence
from itertools import cycle, islice
from typing import NamedTuple

from medical_team import demo_world, prompts
from medical_team.judge.answers import sentences_apart
from medical_team.types import Case, ErrorType, Label, Role

DILIGENCE = 0.5
"""Share of the checks that a demonstration on the demo world writes out."""

FITS = "I held every statement of the note against the others. None of them would harm the patient."


class Demonstration(NamedTuple):
    """What the seat is told, and the reply to it: everything after the prompt, which ends in `<think>` with thinking."""

    messages: list[dict[str, str]]
    reply: str


def demonstrations(
    cases: Sequence[Case], count: int, seed: int, style: prompts.Style = "full", cot: bool = True,
    kinds: Collection[ErrorType] = tuple(ErrorType),
) -> list[Demonstration]:  # fmt: skip
    """`count` of them, the kinds in turn, over the cases again and again in a fresh order each time. Attacks are asked for
    errors of `kinds` alone, one of which every case must have."""
    rng = random.Random(f"{seed} demonstrations")

    def endless() -> Iterator[Demonstration]:
        for _ in cycle((0,)):
            for case in rng.sample(cases, len(cases)):
                yield from _of_case(
                    case, rng.choice([one for one in case.error_types if one in kinds]), rng, style, cot
                )

    return list(islice(endless(), count)) if cases else []


def _of_case(
    case: Case, asked: ErrorType, rng: random.Random, style: prompts.Style, cot: bool
) -> Iterator[Demonstration]:
    for note, truth in ((case.error, Label.HARMFUL), (case.clean, Label.SAFE)):
        told = prompts.messages(Role.ASSESSOR, note, style=style, cot=cot)
        yield Demonstration(told, _reply(_assessed(case, note, truth, rng), cot))
    for intended, given, reply in _attacks(case, asked, rng):
        yield Demonstration(prompts.messages(Role.ATTACKER, given, intended, asked, style, cot), _reply(reply, cot))


def _reply(written: str, cot: bool) -> str:
    """The reply in the game's format, or its answer alone."""
    return written if cot else written.split("<answer> ")[1].removesuffix(" </answer>")


def _assessed(case: Case, note: str, truth: Label, rng: random.Random) -> str:
    facts = demo_world.read_note(note) if case.source == "demo" else None
    if facts:
        return demo_world.demonstrate_assessor(facts, rng, DILIGENCE)
    if truth is Label.SAFE:
        return demo_world.reply(FITS, Label.SAFE)
    right, wrong = sentences_apart(case.clean, case.error)
    said = f"The note says: {_quoted(wrong)} This does not fit the rest of it. What fits is: {_quoted(right)}"
    return demo_world.reply(said, Label.HARMFUL)


def _attacks(case: Case, asked: ErrorType, rng: random.Random) -> Iterator[tuple[Label, str, str]]:
    """What is wanted, the note that the game gives for it, and the rewrite: an error is kept, or a clean note kept clean.

    A MEDEC pair shows no rewording of a note, so its error note comes back as it is; a harmless rewrite it does not show.
    """
    clean, broken = map(demo_world.read_note, (case.clean, case.error)) if case.source == "demo" else (None, None)
    if clean and broken:
        yield Label.SAFE, case.clean, demo_world.demonstrate_attacker(clean, None, rng, 0.0)
        yield Label.HARMFUL, case.error, demo_world.demonstrate_attacker(broken, asked, rng, 0.0)
    else:
        right, wrong = sentences_apart(case.clean, case.error)
        said = (
            f"The note holds its error here: {_quoted(wrong)} What fits is: {_quoted(right)} I keep the error as it is."
        )
        yield Label.HARMFUL, case.error, demo_world.reply(said, case.error)


def _quoted(sentences: Sequence[str]) -> str:
    return " ".join(sentences) or "nothing."
