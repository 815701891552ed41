"""The judge without a model: references and rules only.

Exact for the notes of the demo world, whose every fact it can read and check, and for notes that equal one of the case's
two. Of any other note it says that it cannot tell.
"""

from medical_team import demo_world
from medical_team.judge import Question, gates
from medical_team.types import Label, Verdict


class ReferenceJudge:
    name = "reference-1"

    def gate(self, question: Question) -> Verdict | None:
        demo = demo_world.is_demo_note(question.clean)
        if refused := gates.refusal(question, self.name, overlap=not demo):
            return refused
        if demo and demo_world.read_note(question.note) is None:
            why = "a fact of the note is missing, doubled or unclear"
            return Verdict(None, reason="gate_facts", source="gate", judge=self.name, faithful=False, rationale=why)
        return None

    async def judge(self, question: Question) -> Verdict:
        if verdict := gates.match(question, self.name):
            return verdict
        return await self.ask(question)

    async def ask(self, question: Question) -> Verdict:
        if demo_world.is_demo_note(question.clean):
            return self._read(question)
        why = "the note differs from both references, and there are no rules for it"
        return Verdict(None, reason="abstain", source="rule", judge=self.name, rationale=why)

    async def close(self) -> None:
        pass

    def _read(self, question: Question) -> Verdict:
        reading = demo_world.compare(question.clean, question.note)
        if reading.harmful is None:
            return Verdict(None, reason="abstain", source="rule", judge=self.name, rationale="a fact could not be read")
        return Verdict(
            Label.HARMFUL if reading.harmful else Label.SAFE,
            reason="ok",
            source="rule",
            judge=self.name,
            p_harm=float(reading.harmful),
            same_meaning=reading.same_facts,
            rationale="broken: " + ", ".join(reading.errors) if reading.errors else "every fact holds",
        )
