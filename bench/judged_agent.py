"""The agent for `bench/gpu.py`: a judge's model is asked about every attack, as it is when players keep to the format.

Models with random weights never do, so that their games alone would leave the judge asleep.
"""

from medical_team.judge import Question
from medical_team.openrlhf_agent import AgentExecutor as Ours


class AgentExecutor(Ours):
    async def _play_out(self, table, mode, step, sample):
        played = await super()._play_out(table, mode, step, sample)
        if sample.category.adversarial and self.settings.judge.asks_a_model:
            await self.judge.ask(Question.about(sample, f"Reviewed. {sample.note}"))
        return played
