"""Rewards of assessor replies over OpenRLHF's remote reward protocol, by the reward table and whatever judge is served.

Raw rewards: there is no run here, so no baseline and no record of games. The local reward function has both.
"""

import asyncio
from collections.abc import Sequence

from pydantic import BaseModel

from medical_team.config import GameConfig
from medical_team.data import RowLabel
from medical_team.game import Seat, judged_assessor
from medical_team.judge import Judge, truth_of
from medical_team.types import Reply


class Rewards(BaseModel):
    """A number each for one sample, which is how OpenRLHF asks; lists otherwise."""

    rewards: float | list[float]
    scores: float | list[float]
    extra_logs: dict[str, float | list[float]]


async def rewards(
    judge: Judge, config: GameConfig, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str]
) -> Rewards:
    """A reply to a prompt that OpenRLHF has cut is a tie.

    Errors: ValueError for lists of unequal length, and for labels that `medical_team.render` did not write.
    """
    asked = list(zip(queries, prompts, labels, strict=True))
    seats = await asyncio.gather(*[_seat(judge, config, *one) for one in asked])
    paid = [seat.raw_reward for seat in seats]
    logs = {
        "format_ok": [float(seat.turn.format_ok) for seat in seats],
        "tie": [float(seat.correct is None) for seat in seats],
    }
    if len(paid) == 1:
        return Rewards(rewards=paid[0], scores=paid[0], extra_logs={name: row[0] for name, row in logs.items()})
    return Rewards(rewards=paid, scores=paid, extra_logs=logs)


async def _seat(judge: Judge, config: GameConfig, query: str, prompt: str, label: str) -> Seat:
    row = RowLabel.model_validate_json(label)
    text = reply_text(query, prompt, row.endings)
    if text is None:
        return judged_assessor(config, row.sample.note, Reply(""), None)
    verdict = await truth_of(judge, row.sample)
    return judged_assessor(config, row.sample.note, Reply(text), verdict.label)


def reply_text(query: str, prompt: str, endings: tuple[str, ...]) -> str | None:
    """The reply in `query`: what follows the prompt, without the special tokens that end it.

    None where `query` does not begin with the whole prompt: OpenRLHF cuts one that is too long from the left, so that the
    model never saw all of it.
    """
    if not query.startswith(prompt):
        return None
    text = query.removeprefix(prompt)
    while ending := next((token for token in endings if text.endswith(token)), None):
        text = text.removesuffix(ending)
    return text
