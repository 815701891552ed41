"""The guide's local reward function: `--reward.remote_url medical_team/local_reward_function.py`.

For the single-turn mode: the policy assesses notes of the data set, this says what each answer earned. OpenRLHF loads the
file by its path inside every rollout actor, and calls `reward_func` from several threads, one sample at a time.
"""

import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # OpenRLHF loads this file by its path alone

from medical_team import agent_settings, data  # noqa: E402
from medical_team.config import GameConfig  # noqa: E402
from medical_team.game import Game, judged_assessor  # noqa: E402
from medical_team.judge import Judge, truth_of  # noqa: E402
from medical_team.judge.background import Background  # noqa: E402
from medical_team.judge.remote_reward import reply_text  # noqa: E402
from medical_team.prompts import Style  # noqa: E402
from medical_team.records import GameLog, GameRecord, stream  # noqa: E402
from medical_team.scoring import Bookkeeper, numbers  # noqa: E402
from medical_team.types import Reply  # noqa: E402

CUT = "prompt too long: OpenRLHF cut its beginning; raise rollout.max_len"

_turn = threading.Lock()


class _Desk(NamedTuple):
    style: Style
    config: GameConfig
    books: Bookkeeper
    log: GameLog
    judge: Judge
    """Asked about notes that are not the data set's own."""
    background: Background


@cache
def _desk() -> _Desk:
    settings, config = agent_settings.from_environment()
    books = Bookkeeper(settings, config.remove_ties)
    if settings.start_step:
        books.replay(stream(settings.games))
    log, judge = GameLog(settings.games, settings.writer), settings.judge.load(settings.games.parent)
    return _Desk(settings.style, config, books, log, judge, Background())


def reward_func(queries: list[str], prompts: list[str], labels: list[str]) -> dict:
    """Rewards of assessor replies, as today's OpenRLHF asks for them.

    Args:
        queries: prompt and reply as one decoded text, special tokens included, one per sample.
        prompts: the prompts alone.
        labels: the rows' labels, as `medical_team.render` wrote them.

    Returns:
        rewards: what the trainer learns from: the raw reward minus its baseline; in evaluations 1 or 0.
        scores: the same.
        extra_logs: numbers that OpenRLHF averages over the step.

        Each is a scalar for a single sample, which is how OpenRLHF calls, and a list otherwise.
    """
    records = [_score(*asked) for asked in zip(queries, prompts, labels, strict=True)]
    turns = [next(iter(record.turns), None) for record in records]
    rewards = [turn.sent_reward if turn else 0.0 for turn in turns]
    logs = [numbers(record, turn) for record, turn in zip(records, turns, strict=True)]
    if len(records) == 1:
        return {"rewards": rewards[0], "scores": rewards[0], "extra_logs": logs[0]}
    return {"rewards": rewards, "scores": rewards, "extra_logs": {key: [log[key] for log in logs] for key in logs[0]}}


def _score(query: str, prompt: str, label: str) -> GameRecord:
    started = time.time()
    row = data.RowLabel.model_validate_json(label)
    mode, sample = row.mode, row.sample
    with _turn:
        desk = _desk()
        step = desk.books.step_of(mode)
    text = reply_text(query, prompt, row.endings)
    verdict = desk.background.run(truth_of(desk.judge, sample)) if text is not None else None
    with _turn:
        if verdict is None:
            record = desk.books.broken(sample, mode, step, started, time.time(), CUT)
        else:
            seat = judged_assessor(desk.config, sample.note, Reply(text), verdict.label, desk.style)
            record = desk.books.record(Game(sample, (seat,), sample.note, verdict), mode, step, started, time.time())
        desk.log.append(record)
    return record
