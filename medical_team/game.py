"""One game: the attacker writes, the assessor answers, the judge says what is true, the table pays.

Pure of any trainer: a player is anything that replies to messages, a judge anything that answers a question.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Protocol

from medical_team import prompts, rewards
from medical_team.config import GameConfig
from medical_team.judge import Judge, Question, dataset_verdict
from medical_team.parsing import parse_label, parse_turn
from medical_team.types import Category, Label, Reply, Role, Sample, Turn, Verdict

SELF = "self"
"""The opponent where one policy holds both seats."""


class Player(Protocol):
    async def reply(self, messages: list[dict[str, str]], cot: bool) -> Reply:
        """The model's reply; with `cot` the prompt must end in `prompts.OPENING`."""


class PromptTooLong(ValueError):
    """The prompt leaves no room for a reply. Raised by players; the message gives the token counts."""


@dataclass(frozen=True)
class Seat:
    """One move and what it earned. `correct` is None for attackers, and where there is no truth."""

    turn: Turn
    parts: dict[str, float]
    correct: bool | None
    trained: bool = True

    @property
    def raw_reward(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Game:
    """A finished game. `truth` is None in a tie, and then no seat earned anything."""

    sample: Sample
    seats: tuple[Seat, ...]
    note: str
    """The note that the assessor read."""
    verdict: Verdict
    """On that note."""
    attack_verdict: Verdict | None = None
    """On an attacker's note that a gate refused."""

    @property
    def truth(self) -> Label | None:
        return self.verdict.label

    @property
    def valid(self) -> bool:
        return self.truth is not None


@dataclass(frozen=True)
class Table:
    """Who plays, who judges, and by which rules."""

    attacker: Player
    assessor: Player
    judge: Judge
    config: GameConfig = GameConfig()
    style: prompts.Style = "full"
    opponent: str = SELF
    """Name of the frozen model that holds one of the seats."""
    trained: frozenset[Role] = frozenset(Role)
    """Roles that are trained: both, or the one that plays against a frozen opponent."""

    @property
    def cot(self) -> bool:
        return not self.config.direct_chat_no_cot


async def play(table: Table, sample: Sample) -> Game:
    """Plays one game of the sample's category."""
    if sample.category.adversarial:
        return await _adversarial(table, sample)
    turns = await asyncio.gather(*[_assess(table, sample.note) for _ in range(2)])
    verdict = dataset_verdict(sample.category.intended)
    return Game(
        sample, tuple(_assessor_seat(table.config, turn, verdict.label) for turn in turns), sample.note, verdict
    )


async def assess(table: Table, sample: Sample) -> Game:
    """An evaluation: the assessor alone, on the sample's note as it is."""
    verdict = dataset_verdict(sample.category.intended)
    turn = await _assess(table, sample.note)
    return Game(sample, (_assessor_seat(table.config, turn, verdict.label),), sample.note, verdict)


async def _adversarial(table: Table, sample: Sample) -> Game:
    attack = await _attack(table, sample)
    question = Question.about(sample, attack.answer) if attack.answer is not None else None
    refused = table.judge.gate(question) if question else None
    if question is None or refused:
        known = dataset_verdict(sample.category.intended)
        defence = await _assess(table, sample.note)
        seats = _attacker_seat(table.config, attack, refused, None), _assessor_seat(table.config, defence, known.label)
        return Game(sample, _seated(table, *seats), sample.note, known, refused)
    defence, verdict = await asyncio.gather(_assess(table, question.note), table.judge.judge(question))
    verdict = replace(verdict, faithful=is_faithful(sample.category, verdict))
    if not verdict.valid:
        seats = Seat(attack, {}, None), Seat(defence, {}, None)
    else:
        answer = parse_label(defence.answer)
        seats = (
            _attacker_seat(table.config, attack, verdict, answer),
            _assessor_seat(table.config, defence, verdict.label),
        )
    return Game(sample, _seated(table, *seats), question.note, verdict)


def judged_assessor(
    config: GameConfig, note: str, reply: Reply, truth: Label | None, style: prompts.Style = "full"
) -> Seat:
    """The seat of an assessor whose reply is already there. Without a truth it earned nothing."""
    cot = not config.direct_chat_no_cot
    turn = _read(Role.ASSESSOR, prompts.messages(Role.ASSESSOR, note, style=style, cot=cot), reply, cot)
    if truth is None:
        return Seat(turn, {}, None)
    return _assessor_seat(config, turn, truth)


def is_faithful(category: Category, verdict: Verdict) -> bool | None:
    """The note is what its attacker was asked for: it holds an error, or it kept its meaning. None without a label."""
    if verdict.label is None:
        return None
    return verdict.label is category.intended and (
        category.intended is Label.HARMFUL or verdict.same_meaning is not False
    )


def _seated(table: Table, attacker: Seat, assessor: Seat) -> tuple[Seat, Seat]:
    return tuple(replace(seat, trained=seat.turn.role in table.trained) for seat in (attacker, assessor))


def _attacker_seat(config: GameConfig, turn: Turn, verdict: Verdict | None, answer: Label | None) -> Seat:
    return Seat(turn, rewards.attacker(verdict, answer, config.reward_type, config.reward_coeff_config), None)


def _assessor_seat(config: GameConfig, turn: Turn, truth: Label) -> Seat:
    answer = parse_label(turn.answer)
    parts = rewards.assessor(truth, answer, turn.format_ok, config.reward_coeff_config)
    return Seat(turn, parts, answer is truth)


async def _attack(table: Table, sample: Sample) -> Turn:
    messages = prompts.messages(
        Role.ATTACKER, sample.note, sample.category.intended, sample.error_type, table.style, table.cot
    )
    return await _move(table, table.attacker, Role.ATTACKER, messages)


async def _assess(table: Table, note: str) -> Turn:
    messages = prompts.messages(Role.ASSESSOR, note, style=table.style, cot=table.cot)
    return await _move(table, table.assessor, Role.ASSESSOR, messages)


async def _move(table: Table, player: Player, role: Role, messages: list[dict[str, str]]) -> Turn:
    return _read(role, messages, await player.reply(messages, table.cot), table.cot)


def _read(role: Role, messages: list[dict[str, str]], reply: Reply, cot: bool) -> Turn:
    parsed = parse_turn(role, reply.text, bool(reply.truncated), cot)
    prompt = "\n\n".join(message["content"] for message in messages)
    return Turn(role, prompt, reply, parsed.thinking, parsed.answer, parsed.ok, parsed.reason)
