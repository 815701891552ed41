"""The part of an evaluation that needs models: `python -m medical_team.evaluation.worker FOLDER`, in the engine's
interpreter. Reads FOLDER's job and notes; writes predictions, attacks and progress there.

One model is loaded at a time. First every attacker writes, then the judge judges, then every assessor reads.
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from medical_team import evaluation as ev
from medical_team import prompts
from medical_team.evaluation import Attack, How, Job, Note, Player, Prediction
from medical_team.evaluation.model import Asked, Reply, loaded
from medical_team.game import is_faithful
from medical_team.judge import Judge, Question
from medical_team.parsing import Parsed, parse_label, parse_turn
from medical_team.types import Category, Label, Role, Verdict


class Reporter:
    """Writes progress.json, at most a few times a second; ends the worker when its launcher is gone."""

    def __init__(self, folder: Path, of: int):
        self._path, self._of, self._done, self._told, self._parent = folder / ev.PROGRESS, of, 0, 0.0, os.getppid()

    def tell(self, doing: str, more: int = 0) -> None:
        self._done += more
        if os.getppid() != self._parent:
            sys.exit("the launcher is gone")
        if more and self._done < self._of and time.monotonic() - self._told < 0.3:
            return
        self._told = time.monotonic()
        part = self._path.with_suffix(".part")
        part.write_text(ev.Progress(doing=doing, done=self._done, of=self._of).model_dump_json(), encoding="utf-8")
        part.replace(self._path)


def attacks(job: Job, folder: Path, notes: Sequence[Note], judge: Judge, report: Reporter) -> list[Attack]:
    """Every player's rewrite of every note that has a twin, judged."""
    given = [note for note in notes if note.asked]
    found = []
    for player in job.players:
        doing = f"{player.name} attacks"
        report.tell(doing)
        asked = [Asked(_attack_messages(note, player), How.SAMPLED) for note in given]
        with loaded(player, folder, job, asked) as model:
            replies = model.replies(asked, report, doing)
        parsed = [parse_turn(Role.ATTACKER, one.text, one.truncated, player.thinking) for one in replies]
        report.tell(f"judging the notes of {player.name}")
        verdicts = asyncio.run(_judged(judge, given, parsed))
        made = [_attack(*one) for one in zip([player] * len(given), given, replies, parsed, verdicts, strict=True)]
        ev.write_lines(folder / ev.ATTACKS, made)
        found += made
    return found


def _attack_messages(note: Note, player: Player) -> list[dict[str, str]]:
    return prompts.messages(Role.ATTACKER, note.text, note.truth, note.asked, player.style, player.thinking)


async def _judged(judge: Judge, notes: Sequence[Note], parsed: Sequence[Parsed]) -> list[Verdict | None]:
    """None for a reply without a note."""

    async def verdict(note: Note, reply: Parsed) -> Verdict | None:
        if reply.answer is None:
            return None
        question = Question(note.clean, note.error, reply.answer)
        return judge.gate(question) or await judge.judge(question)

    try:
        return list(await asyncio.gather(*map(verdict, notes, parsed)))
    finally:
        await judge.close()


def _attack(player: Player, note: Note, reply: Reply, parsed: Parsed, verdict: Verdict | None) -> Attack:
    return Attack(
        player=player.name, note=note.id, case=note.case, kind=note.kind, intended=note.truth, asked=note.asked,
        written=parsed.answer, format_reason=parsed.reason, faithful=_faithful(note, verdict),
        label=verdict.label if verdict else None, reason=verdict.reason if verdict else "", tokens=reply.tokens,
        truncated=reply.truncated, raw=reply.text,
    )  # fmt: skip


def _faithful(note: Note, verdict: Verdict | None) -> bool | None:
    """As in a game: a reply without a note, and a note that a gate refused, are not what was asked for."""
    if verdict is None or verdict.faithful is False:
        return False
    harmful = note.truth is Label.HARMFUL
    return is_faithful(Category.ADVERSARIAL_HARMFUL if harmful else Category.ADVERSARIAL_BENIGN, verdict)


class Reading(NamedTuple):
    """A text that an assessor is to read."""

    note: Note
    text: str
    how: How
    attacker: str | None


def readings(job: Job, notes: Sequence[Note], made: Sequence[Attack]) -> list[Reading]:
    """The notes themselves, then each attacker's faithful ones, in every way that is wanted."""
    by_id = {note.id: note for note in notes}
    own = [Reading(note, note.text, how, None) for how in job.how for note in notes]
    faithful = [one for one in made if one.faithful]
    return own + [Reading(by_id[one.note], one.written, how, one.player) for how in job.how for one in faithful]


def predict(job: Job, folder: Path, read: Sequence[Reading], report: Reporter) -> None:
    for player in job.players:
        doing = f"{player.name} reads"
        report.tell(doing)
        asked = [Asked(_read_messages(one, player), one.how) for one in read]
        with loaded(player, folder, job, asked) as model:
            replies = model.replies(asked, report, doing)
        ev.write_lines(folder / ev.PREDICTIONS, map(_prediction, [player] * len(read), read, replies))


def _read_messages(read: Reading, player: Player) -> list[dict[str, str]]:
    return prompts.messages(Role.ASSESSOR, read.text, style=player.style, cot=player.thinking)


def _prediction(player: Player, read: Reading, reply: Reply) -> Prediction:
    parsed, note = parse_turn(Role.ASSESSOR, reply.text, reply.truncated, player.thinking), read.note
    answer = parse_label(parsed.answer)
    return Prediction(
        player=player.name, how=read.how, attacker=read.attacker, note=note.id, case=note.case, kind=note.kind,
        truth=note.truth, answer=answer, correct=answer is note.truth, format_reason=parsed.reason, tokens=reply.tokens,
        truncated=reply.truncated, raw=reply.text,
    )  # fmt: skip


def work(folder: Path) -> None:
    job = Job.model_validate_json((folder / ev.JOB).read_bytes())
    notes = ev.read_lines(folder / ev.NOTES, Note)
    given = sum(note.asked is not None for note in notes) if job.attack else 0
    players = len(job.players)
    # an attack that turns out unfaithful is not read, so the bar may end early
    report = Reporter(folder, players * (given + (len(notes) + players * given) * len(job.how)))
    made = attacks(job, folder, notes, job.judge.load(folder), report) if given else []
    predict(job, folder, readings(job, notes, made), report)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
