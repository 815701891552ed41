"""From a played game to its record: what each seat earned, minus what its role usually earns there."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from medical_team.agent_settings import AgentSettings
from medical_team.baseline import PAST, START, Baselines
from medical_team.game import SELF, Game, Seat
from medical_team.records import GameRecord, TurnRecord, VerdictRecord
from medical_team.types import Category, Role, Sample, Verdict

Mode = Literal["train", "eval"]


class _Played(NamedTuple):
    """All that a baseline learns of a game: far less than the game's texts."""

    step: int
    attempt: int
    ended: float
    category: Category
    other: str
    earned: tuple[tuple[Role, float], ...]


class Bookkeeper:
    """Writes games down as records, and keeps the baselines and the count of prompts that this needs.

    Every training step takes the same number of prompts from an engine, so counting them tells the step.
    """

    def __init__(self, settings: AgentSettings, remove_ties: bool):
        self._settings, self._remove_ties = settings, remove_ties
        self._baselines = Baselines(settings.baseline_decay)
        self._prompts = self._games = 0

    def replay(self, records: Iterable[GameRecord]) -> None:
        """Brings the baselines to where `records`, the run's games up to `start_step`, left them.

        A step that was made twice, because the run was resumed from before it, counts as it was made last.
        """
        last = self._settings.start_step
        played = [self._played(record) for record in records if record.mode == "train" and record.step <= last]
        last_start = {game.step: game.attempt for game in sorted(played, key=lambda game: game.attempt)}
        for game in sorted(played, key=lambda game: game.ended):
            if game.attempt == last_start[game.step]:
                for role, raw in game.earned:
                    self._baselines.center(role, game.category, raw, game.other)

    def _played(self, record: GameRecord) -> "_Played":
        earned = tuple((turn.role, turn.raw_reward) for turn in record.turns if turn.trained and record.valid)
        other = self._other(record.opponent)
        return _Played(record.step, record.attempt, record.ended, record.category, other, earned)

    def step_of(self, mode: Mode) -> int:
        """The step that the next prompt is for: call once per prompt. An evaluation belongs to the last finished step."""
        finished = self._settings.start_step + self._prompts // self._settings.prompts_per_step
        if mode == "eval":
            return finished
        self._prompts += 1
        return finished + 1

    def record(
        self, game: Game, mode: Mode, step: int, started: float, ended: float, opponent: str = SELF
    ) -> GameRecord:
        """The whole game. Learns from its rewards if it is a training game that has a truth."""
        other = self._other(opponent)
        turns = tuple(self._turn(game, mode, index, seat, other) for index, seat in enumerate(game.seats))
        tie = not game.valid and self._remove_ties
        return self._note_down(
            game.sample, mode, step, started, ended, note=game.note, turns=turns, truth=game.truth, valid=game.valid,
            verdict=_verdict(game.verdict), attack_verdict=_verdict(game.attack_verdict),
            drop_reason=f"tie: {game.verdict.reason}" if tie else None, opponent=opponent,
        )  # fmt: skip

    def broken(
        self, sample: Sample, mode: Mode, step: int, started: float, ended: float, why: str, opponent: str = SELF
    ) -> GameRecord:
        """A game that could not be played to its end, and why."""
        return self._note_down(
            sample, mode, step, started, ended, note=sample.note, turns=(), truth=None, valid=False,
            verdict=None, attack_verdict=None, drop_reason=why, opponent=opponent,
        )  # fmt: skip

    def _other(self, opponent: str) -> str:
        """As the baselines have it, by the name that a record has."""
        return SELF if opponent == SELF else START if opponent == self._settings.frozen_model else PAST

    def _turn(self, game: Game, mode: Mode, index: int, seat: Seat, other: str) -> TurnRecord:
        turn, raw, baseline, sent = seat.turn, seat.raw_reward, 0.0, 0.0
        if mode == "eval":
            sent = float(bool(seat.correct))
        elif game.valid and seat.trained:
            if self._settings.role_baseline:
                baseline = self._baselines.center(turn.role, game.sample.category, raw, other)
            sent = raw - baseline
        return TurnRecord(
            seat=index, trained=seat.trained and mode == "train", role=turn.role, prompt=turn.prompt, raw=turn.reply.text,
            thinking=turn.thinking, answer=turn.answer, format_ok=turn.format_ok, format_reason=turn.format_reason,
            tokens=turn.reply.tokens, truncated=turn.reply.truncated, latency_ms=turn.reply.latency_ms,
            correct=seat.correct, rewards=seat.parts, raw_reward=raw, baseline=baseline, sent_reward=sent,
        )  # fmt: skip

    def _note_down(self, sample: Sample, mode: Mode, step: int, started: float, ended: float, **rest) -> GameRecord:
        self._games += 1
        settings = self._settings
        return GameRecord(
            run=settings.run, attempt=settings.attempt, game=f"{settings.attempt}-{settings.writer}-{self._games}",
            sample=sample.id, case=sample.case, mode=mode, step=step, category=sample.category,
            error_type=sample.error_type, seed_note=sample.note, clean_note=sample.clean, started=started, ended=ended,
            **rest,
        )  # fmt: skip


def _verdict(verdict: Verdict | None) -> VerdictRecord | None:
    return None if verdict is None else VerdictRecord.of(verdict)


NUMBERS = ("raw_reward", "is_attacker", "is_assessor", "attacker_raw", "assessor_raw", "format_ok", "dropped")
"""Keys of `numbers`, the same for every sample."""


def numbers(record: GameRecord, turn: TurnRecord | None) -> dict[str, float]:
    """What OpenRLHF averages over a step's samples. For a role's own mean divide by the mean of `is_<role>`.

    A dropped game counts for neither role.
    """
    if turn is None or record.drop_reason is not None:
        return dict.fromkeys(NUMBERS, 0.0) | {"dropped": 1.0}
    raw, attacker, assessor = turn.raw_reward, float(turn.role is Role.ATTACKER), float(turn.role is Role.ASSESSOR)
    values = (raw, attacker, assessor, raw * attacker, raw * assessor, float(turn.format_ok), 0.0)
    return dict(zip(NUMBERS, values, strict=True))
