"""What the demo model is taught: the recipe, and endless demonstrations of both seats and of an exercise.

The warm start goes by skill, not by time: made to write all four checks of a note, the finished model must complete them
exactly. Left alone it writes each check only now and then, which is what reinforcement learning improves.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from medical_team.demo_text import draw_layout
from medical_team.demo_world import (
    KINDS,
    NEEDS,
    Facts,
    broken,
    checks,
    damage,
    demonstrate_assessor,
    demonstrate_attacker,
    draw_facts,
    slots,
    write,
)
from medical_team.prompts import OPENING, messages
from medical_team.types import ErrorType, Label, Role

DRILL = "Check every fact."
"""System text of the exercise that always writes all four checks. Used in the warm start only."""


class Shares(NamedTuple):
    """Shares of the examples; the rest are the assessor's."""

    attacker: float
    drill: float


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes the model and its warm start, apart from the seed."""

    layers: int = 2
    hidden: int = 128
    feed_forward: int = 256
    heads: int = 4
    vocabulary: int = 1280
    positions: int = 8192
    batch: int = 16
    matrix_rate: float = 8e-3
    """Learning rate of Muon, on the hidden matrices."""
    rate: float = 4e-3
    """Learning rate of AdamW, on the rest."""
    weight_decay: float = 0.05
    first: Shares = Shares(attacker=0.0, drill=1.0)
    """Kinds of example until the checks are understood: a verdict is learnt late, and from drills soonest."""
    then: Shares = Shares(attacker=0.45, drill=0.3)
    """Kinds of example while the learning rate falls."""
    diligence: float = 0.36
    """Probability of each check in an assessor's demonstration."""
    faulty: float = 0.35
    """Share of the attacker's demonstrations that are not what was asked."""
    break_rate: float = 0.3
    drill_break_rate: float = 0.5
    """Probability with which each fact of a note is broken, for the assessor and in a drill."""
    prompt_weight: float = 0.1
    fact_weight: float = 2.0
    verdict_weight: float = 8.0
    """Weights in the loss, where any other token of a reply has 1."""
    understood: float = 0.25
    """Mean loss of the verdict words over 50 steps at which the first part ends."""
    most_drilling: int = 2500
    """Steps of the first part at most."""
    falling: int = 900
    """Steps of the second part, in whose second half the learning rates fall to nothing."""
    enough: float = 0.97
    """Skill below which the second part is repeated."""
    most_falls: int = 3
    """Times that the second part is done at most."""


class Example(NamedTuple):
    prompt: str
    reply: str


def examples(rng: random.Random, recipe: Recipe, shares: Shares) -> Iterator[Example]:
    """Endless demonstrations: the attacker's, the drill's and the assessor's."""
    while True:
        lot = rng.random()
        if lot < shares.attacker:
            yield _attacker_example(rng, recipe)
        elif lot < shares.attacker + shares.drill:
            yield _drill_example(rng, recipe)
        else:
            yield _assessor_example(rng, recipe)


def _assessor_example(rng: random.Random, recipe: Recipe) -> Example:
    facts, note = _patient(rng, recipe.break_rate)
    return Example(prompt(Role.ASSESSOR, note), demonstrate_assessor(facts, rng, recipe.diligence))


def _drill_example(rng: random.Random, recipe: Recipe) -> Example:
    """All four checks, whatever they find."""
    facts, note = _patient(rng, recipe.drill_break_rate)
    written = " ".join(sentence for sentence, _ in checks(facts))
    said = [{"role": "system", "content": DRILL}, {"role": "user", "content": note}]
    return Example(_chat(said), f" {written} </think>")


def prompt(role: Role, note: str, intended: Label | None = None, asked: ErrorType | None = None) -> str:
    """The words that the model sees in a game, up to where its own begin."""
    return _chat(messages(role, note, intended, asked, style="short"))


def _chat(said: list[dict[str, str]]) -> str:
    turns = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in said)
    return f"{turns}<|im_start|>assistant\n{OPENING}"


def _attacker_example(rng: random.Random, recipe: Recipe) -> Example:
    asked = rng.choice((None, None, *KINDS))
    facts = draw_facts(rng, NEEDS.get(asked))
    if asked is not None and rng.random() < 0.75:
        facts = damage(facts, asked, rng)
    note = write(facts, draw_layout(rng, slots(facts)))
    intended = Label.SAFE if asked is None else Label.HARMFUL
    return Example(prompt(Role.ATTACKER, note, intended, asked), demonstrate_attacker(facts, asked, rng, recipe.faulty))


def _patient(rng: random.Random, break_rate: float) -> tuple[Facts, str]:
    facts = _break_some(draw_facts(rng), rng, break_rate)
    return facts, write(facts, draw_layout(rng, slots(facts)))


def _break_some(facts: Facts, rng: random.Random, rate: float) -> Facts:
    for kind in rng.sample(KINDS, len(KINDS)):
        possible = kind not in NEEDS or getattr(facts, NEEDS[kind]) is not None
        if possible and kind not in broken(facts) and rng.random() < rate:
            facts = damage(facts, kind, rng)
    return facts
