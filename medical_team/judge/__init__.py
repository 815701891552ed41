"""The judge protocol: what every judge is asked, and what needs no model to answer."""

from dataclasses import dataclass
from typing import Protocol

from medical_team.types import Label, Sample, Verdict


@dataclass(frozen=True)
class Question:
    """All that a judge gets to see. Never the category, the expected label, the assessor's answer or any thinking."""

    clean: str
    """The correct note of the case."""
    error: str
    """The data set's own broken version of it."""
    note: str
    """The attacker's note, which passed the gates."""

    @classmethod
    def about(cls, sample: Sample, note: str) -> "Question":
        return cls(sample.clean, sample.error, note)


class Judge(Protocol):
    name: str
    """Name and version; part of every verdict."""

    def gate(self, question: Question) -> Verdict | None:
        """The refusal of a note that is not worth judging, before the assessor moves; None if it may pass."""

    async def judge(self, question: Question) -> Verdict:
        """What the note is, against the clean one. A judge that cannot tell says so: `label` None."""

    async def ask(self, question: Question) -> Verdict:
        """The judge's own view, as probes need it: the same without comparison with the case's notes and without memory."""

    async def close(self) -> None:
        """Lets go of connections; in the event loop that the judge was asked in."""


async def truth_of(judge: Judge, sample: Sample) -> Verdict:
    """What the sample's note is: the data set says so of its own notes, the judge of a rewritten one."""
    if not sample.category.adversarial:
        return dataset_verdict(sample.category.intended)
    return await judge.judge(Question.about(sample, sample.note))


def dataset_verdict(label: Label) -> Verdict:
    """A note of the data set, unchanged: its label is known."""
    return Verdict(label, reason="ok", source="dataset", judge="dataset", same_meaning=label is Label.SAFE)
