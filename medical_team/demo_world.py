"""The demo world: written-out clinical notes made from tables of facts, so that a rule can say exactly what is wrong.

The facts are judged in `medical_team.judge.rules` and worded in `medical_team.demo_text`. Here they are drawn and
broken, and turned into the demonstrations from which the demo model learns its format and a little skill.
"""

import random
from dataclasses import replace

from medical_team.demo_text import Layout, draw_layout, fill
from medical_team.judge.rules import (
    WORLD,
    Facts,
    Reading,
    broken,
    compare,
    is_demo_note,
    is_faithful,
    read_note,
)
from medical_team.types import Case, ErrorType, Label

__all__ = [
    "Facts",
    "Reading",
    "broken",
    "cases",
    "checks",
    "compare",
    "damage",
    "demonstrate_assessor",
    "demonstrate_attacker",
    "draw_facts",
    "is_demo_note",
    "is_faithful",
    "number",
    "read_note",
    "slots",
    "write",
]

KINDS = tuple(ErrorType)

GUESSES = {Label.HARMFUL: "At a glance it looks odd.", Label.SAFE: "At a glance it looks fine."}
"""What an assessor thinks that has checked nothing."""

# error type -> what the note must state for such an error to be possible; any other type can break either note
NEEDS = {ErrorType.CONTRAINDICATION: "allergy", ErrorType.DRUG_INTERACTION: "home"}


def cases(count: int, seed: int) -> list[Case]:
    """`count` distinct cases, the error types in turn.

    The same seed gives the same cases, and a longer list starts with the shorter one.
    """
    found: dict[str, Case] = {}
    attempt = 0
    while len(found) < count:
        rng = random.Random(f"demo-{seed}-{attempt}")
        kind = KINDS[len(found) % len(KINDS)]
        clean = draw_facts(rng, NEEDS.get(kind))
        layout = draw_layout(rng, slots(clean))
        note, error = write(clean, layout), write(damage(clean, kind, rng), layout)
        found.setdefault(note, Case(f"demo-{seed}-{len(found)}", note, error, (kind,), "demo"))
        attempt += 1
    return list(found.values())


def draw_facts(rng: random.Random, context: str | None = None) -> Facts:
    """A patient of whom every fact holds. `context` is "allergy" or "home"; None leaves it to chance."""
    finding = rng.choice(tuple(WORLD.diagnosis_of))
    diagnosis = WORLD.diagnosis_of[finding]
    if (context or rng.choice(("allergy", "home"))) == "allergy":
        allergy, home = rng.choice(tuple(WORLD.contraindicated)), None
        excluded = WORLD.contraindicated[allergy]
    else:
        allergy, home = None, rng.choice(tuple(WORLD.interacts))
        excluded = WORLD.interacts[home] | WORLD.unclear[home]
    drug = rng.choice([drug for drug in WORLD.doses_mg if drug not in excluded])
    return Facts(
        age=rng.choice(WORLD.ages),
        finding=finding,
        diagnosis=diagnosis,
        management=WORLD.management_of[diagnosis],
        drug=drug,
        dose_mg=rng.choice(WORLD.doses_mg[drug]),
        allergy=allergy,
        home=home,
    )


def damage(facts: Facts, kind: ErrorType, rng: random.Random) -> Facts:
    """The same patient with one more fact broken. Raises KeyError for a kind that the note has no fact for."""
    if kind is ErrorType.DOSAGE:
        return replace(facts, dose_mg=facts.dose_mg * 10 if rng.random() < 0.5 else facts.dose_mg / 10)
    if kind is ErrorType.DIAGNOSIS:
        right = WORLD.diagnosis_of[facts.finding]
        return replace(facts, diagnosis=rng.choice([name for name in WORLD.management_of if name != right]))
    if kind is ErrorType.MANAGEMENT:
        right = WORLD.management_of[WORLD.diagnosis_of[facts.finding]]
        return replace(facts, management=rng.choice([name for name in WORLD.management_of.values() if name != right]))
    bad = WORLD.contraindicated[facts.allergy] if kind is ErrorType.CONTRAINDICATION else WORLD.interacts[facts.home]
    drug = rng.choice(sorted(bad))
    return replace(facts, drug=drug, dose_mg=rng.choice(WORLD.doses_mg[drug]))


def write(facts: Facts, layout: Layout) -> str:
    return fill(layout, slots(facts))


def slots(facts: Facts) -> dict[str, str]:
    """The words that a note's templates ask for."""
    words = {
        "age": str(facts.age),
        "finding": facts.finding,
        "diagnosis": facts.diagnosis,
        "management": facts.management,
        "drug": facts.drug,
        "dose": number(facts.dose_mg),
    }
    return words | ({"allergy": facts.allergy} if facts.allergy else {"home": facts.home or ""})


def number(value: float) -> str:
    """A dose as a note writes it: 500, 2.5."""
    return f"{value:.6g}"


def checks(facts: Facts) -> list[tuple[str, bool]]:
    """One sentence for each of the four facts, quoting the note and the tables, and whether that fact holds."""
    wrong = broken(facts)
    diagnosis = WORLD.diagnosis_of[facts.finding]
    management = WORLD.management_of[diagnosis]
    doses = WORLD.doses_mg[facts.drug]
    dose, lowest, highest = map(number, (facts.dose_mg, doses[0], doses[-1]))
    context = ErrorType.CONTRAINDICATION if facts.allergy else ErrorType.DRUG_INTERACTION
    sentences = {
        ErrorType.DIAGNOSIS: f"Finding {facts.finding} means {diagnosis}, stated {facts.diagnosis}",
        ErrorType.MANAGEMENT: f"Plan for {diagnosis} is {management}, stated {facts.management}",
        ErrorType.DOSAGE: f"Dose of {facts.drug} is {dose}, usual {lowest} to {highest}",
        context: f"{_contraindications(facts)}, {facts.drug} is {WORLD.drug_class[facts.drug]}",
    }
    return [(f"{said}: {'wrong' if kind in wrong else 'fine'}.", kind not in wrong) for kind, said in sentences.items()]


def _contraindications(facts: Facts) -> str:
    if facts.allergy:
        return f"Allergy {facts.allergy}"
    clashes = {WORLD.drug_class[drug] for drug in WORLD.interacts[facts.home]}
    return f"Home {facts.home} clashes with {' '.join(sorted(clashes))}"


def demonstrate_assessor(facts: Facts, rng: random.Random, diligence: float) -> str:
    """A reply that writes each check with probability `diligence` and stops at the first that fails.

    With no check written it guesses; with all of them it is always right.
    """
    written = []
    for sentence, holds in checks(facts):
        if rng.random() < diligence:
            written.append(sentence)
            if not holds:
                return reply(" ".join(written), Label.HARMFUL)
    if written:
        return reply(" ".join(written), Label.SAFE)
    guess = rng.choice(tuple(GUESSES))
    return reply(GUESSES[guess], guess)


def demonstrate_attacker(facts: Facts, asked: ErrorType | None, rng: random.Random, faulty: float) -> str:
    """A rewrite in a layout of its own. `facts` are those of the note to rewrite, with or without the asked error.

    With probability `faulty` the rewrite is not what was asked: it has an error where none was wanted, or every error that
    there is room for where one was.
    """
    target = facts
    if asked is not None and asked not in broken(facts):
        target = damage(facts, asked, rng)
    if rng.random() < faulty:
        target = _spoil(target, asked, rng)
    told = _change(facts, target) if target != facts else "Keep the facts."
    return reply(f"{told} {_outline(target)}", write(target, draw_layout(rng, slots(target))))


def reply(thinking: str, answer: str) -> str:
    """A well-formed reply to a prompt that ends in `<think>`."""
    return f" {thinking} </think> <answer> {answer} </answer>"


def _spoil(facts: Facts, asked: ErrorType | None, rng: random.Random) -> Facts:
    possible = [kind for kind in KINDS if kind not in NEEDS or getattr(facts, NEEDS[kind]) is not None]
    if asked is None:
        return damage(facts, rng.choice(possible), rng)
    for kind in sorted(possible, key=ErrorType.DOSAGE.__eq__):  # a drug that is broken comes with a usual dose
        if kind not in broken(facts):
            facts = damage(facts, kind, rng)
    return facts


def _outline(facts: Facts) -> str:
    """The facts in a fixed order, which a small model writes from more truly than from a note; in the words of `checks`."""
    context = f"Allergy {facts.allergy}" if facts.allergy else f"Home {facts.home}"
    dose = f"Dose of {facts.drug} is {number(facts.dose_mg)}"
    return f"Aged {facts.age}. Finding {facts.finding}, {facts.diagnosis}, {facts.management}. {dose}. {context}."


def _change(before: Facts, after: Facts) -> str:
    old, new = slots(before), slots(after)
    return "Change " + ", ".join(f"{old[slot]} to {new[slot]}" for slot in old if old[slot] != new[slot]) + "."
