"""Whether a run is well, from what its steps left in the index. Pure: steps in, findings out.

Every bound says why it is where it is. A share counts as over its bound only beyond chance (Wilson's interval), so that a
small batch does not cry wolf. `health_series` looks at curves, `health_machine` at the clock, the disk and the memory.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from medical_team.types import Label, Role

Z = 2.0
"""Standard errors that a share has to be over its bound."""


class Kind(StrEnum):
    """What can be wrong, one alert each. The value is how people are told."""

    STALLED = "stalled"
    NOT_FINITE = "loss is no number"
    EXPLODING = "loss explodes"
    KL = "KL jump"
    REWARD = "reward collapse"
    LENGTH = "length collapse"
    ONE_LABEL = "one label always"
    ONE_WINNER = "one player always wins"
    FLAT = "zero-variance groups"
    TIES = "too many ties"
    UNFAITHFUL = "unfaithful notes"
    COPIED = "copied notes"
    GARBLED = "garbled notes"
    JUDGE = "judge down"
    UNDECIDED = "judge undecided"
    DISK = "disk running out"
    MEMORY = "memory running out"

    @property
    def of_steps(self) -> bool:
        """It is seen in steps; the others are seen at any moment."""
        return self not in (Kind.STALLED, Kind.DISK, Kind.MEMORY)


class Place(NamedTuple):
    """What shows it: a tab of the dashboard, and there a plot or a filter of games (`store_page.GameFilter`)."""

    tab: str
    query: tuple[tuple[str, str], ...] = ()


class Finding(NamedTuple):
    """Something that is wrong now. `text` holds the numbers that say so."""

    kind: Kind
    step: int
    text: str
    place: Place


@dataclass(frozen=True)
class Player:
    """One role's part of a step; None for what is not known."""

    reward: float | None = None
    tokens: float | None = None
    thoughts: int = 0
    """Turns whose thinking could be read, an empty one included."""
    words: int = 0
    """Of thinking, in all of them."""


@dataclass(frozen=True)
class Step:
    """What one finished step left: counts of its training games, and the trainer's own figures."""

    step: int
    figures: tuple[tuple[str, float], ...] = ()
    """The trainer's metrics by name; not always finite."""
    attacker: Player = Player()
    assessor: Player = Player()
    games: int = 0
    ties: int = 0
    attacked: int = 0
    faithful: int = 0
    """Games with a faithful note, all of which one of the two won."""
    deceived: int = 0
    """Won by the attacker."""
    answers: int = 0
    """Readable answers of assessors on notes with a truth."""
    harmful: int = 0
    """Those that said Harmful."""
    asked: int = 0
    failed: int = 0
    """Of the times that the judge was asked: too late, or broken."""
    undecided: int = 0
    """And those in which it abstained or could not be read."""
    notes: int = 0
    """Attackers' turns."""
    copied: int = 0
    garbled: int = 0
    groups: int = 0
    flat: int = 0
    """Replies in a group whose rewards the trainer compares, and those where they are all equal: nothing is learnt there."""

    def player(self, role: Role) -> Player:
        return self.attacker if role is Role.ATTACKER else self.assessor

    def figure(self, name: str) -> float | None:
        return next((value for key, value in self.figures if key == name), None)


class Share(NamedTuple):
    """A share of something over the newest steps that must stay below a bound."""

    kind: Kind
    part: str
    """Field of Step. With a minus in front: the rest of `whole`."""
    whole: str
    bound: float
    steps: int
    text: str
    """What the share is of."""
    query: tuple[tuple[str, str], ...] = ()


SHARES = (
    Share(Kind.ONE_LABEL, "harmful", "answers", 0.8, 5, "answers of assessors are Harmful", (("answer", Label.HARMFUL),)),
    Share(Kind.ONE_LABEL, "-harmful", "answers", 0.8, 5, "answers of assessors are Safe", (("answer", Label.SAFE),)),
    Share(Kind.ONE_WINNER, "deceived", "faithful", 0.9, 5, "faithful attacks deceive the assessor",
          (("outcome", "attacker won"),)),
    # An assessor that has learnt its notes wins nearly always, and is well: the demo ends at 95 %.
    Share(Kind.ONE_WINNER, "-deceived", "faithful", 0.98, 20, "faithful attacks are seen through",
          (("outcome", "assessor won"),)),
    Share(Kind.UNFAITHFUL, "-faithful", "attacked", 0.7, 5, "attacks are refused or not what was asked for",
          (("outcome", "unfaithful"),)),
    Share(Kind.TIES, "ties", "games", 0.2, 5, "games have no verdict", (("label", "none"),)),
    Share(Kind.COPIED, "copied", "notes", 0.5, 5, "attackers' notes are copies of the note that they were given",
          (("role", Role.ATTACKER),)),
    Share(Kind.GARBLED, "garbled", "notes", 0.5, 5, "attackers' notes are garbled or share next to nothing with the "
          "note that they were given", (("role", Role.ATTACKER),)),
    Share(Kind.FLAT, "flat", "groups", 0.8, 5, "replies stand in a group whose rewards are all equal, and teach nothing"),
    Share(Kind.JUDGE, "failed", "asked", 0.5, 5, "questions to the judge failed or came back too late",
          (("reason", "failed"),)),
    Share(Kind.UNDECIDED, "undecided", "asked", 0.2, 5, "questions to the judge got no decision, or none that could be read",
          (("label", "none"),)),
)  # fmt: skip


def shares(steps: Sequence[Step]) -> Iterator[Finding]:
    """What is over its bound in the newest steps."""
    for share in SHARES:
        window = [step for step in steps[-share.steps :] if getattr(step, share.whole)]
        whole = sum(getattr(step, share.whole) for step in window)
        part = sum(getattr(step, share.part.removeprefix("-")) for step in window)
        part = whole - part if share.part.startswith("-") else part
        if lower(part, whole) > share.bound:
            first, last = window[0].step, window[-1].step
            text = (
                f"{part} of {whole} {share.text} ({part / whole:.0%}, steps {first} to {last}; "
                f"the bound is {share.bound:.0%})"
            )
            yield Finding(share.kind, last, text, games(first, last, share.query))


def games(first: int, last: int, query: Sequence[tuple[str, str]] = ()) -> Place:
    """The training games of these steps."""
    steps = (("mode", "train"), ("first_step", str(first)), ("last_step", str(last)))
    return Place("games", (*steps, *((key, str(value)) for key, value in query)))


def lower(part: int, whole: int) -> float:
    """The lower end of Wilson's interval for a share; 0 for a share of nothing."""
    if not whole:
        return 0.0
    share, spread = part / whole, Z * Z / whole
    root = math.sqrt(share * (1 - share) * spread + spread * spread / 4)
    return (share + spread / 2 - root) / (1 + spread)
