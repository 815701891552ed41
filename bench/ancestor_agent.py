"""The agent with the reward of this project's ancestor, for `bench/learning.py` alone.

An absolute judge says what is true: a frozen model that reads the attacker's note and nothing else, and whose unreadable
answers count as Safe. Every note is called realistic. Nothing is refused before the assessor reads it.
"""

from medical_team import prompts
from medical_team.frozen import Sampling
from medical_team.judge import Question
from medical_team.openrlhf_agent import AgentExecutor as Ours
from medical_team.opponents import Opponents
from medical_team.parsing import parse_label, parse_turn
from medical_team.types import Label, Role, Verdict


class AbsoluteJudge:
    name = "ancestor-1"

    def __init__(self, model, style: prompts.Style, cot: bool):
        self._player, self._style, self._cot = model.player(Sampling(0.0, 1.0, 120)), style, cot

    def gate(self, question: Question) -> None:
        return None

    async def judge(self, question: Question) -> Verdict:
        said = prompts.messages(Role.ASSESSOR, question.note, style=self._style, cot=self._cot)
        reply = await self._player.reply(said, self._cot)
        parsed = parse_turn(Role.ASSESSOR, reply.text, bool(reply.truncated), self._cot)
        label = parse_label(parsed.answer) or Label.SAFE
        return Verdict(
            label, reason="ok", source="explain", judge=self.name, same_meaning=label is Label.SAFE, realistic=True,
            raw=reply.text, latency_ms=reply.latency_ms,
        )  # fmt: skip

    ask = judge

    async def close(self) -> None:
        pass


class AgentExecutor(Ours):
    def __init__(self):
        super().__init__()
        model = Opponents(self.settings).start().model
        self.judge = AbsoluteJudge(model, self.settings.style, not self.config.direct_chat_no_cot)
