"""From a model's answer to a verdict: bounds, escalation, memory, and failures that become ties and are told."""

import asyncio
import errno
import json

import pytest
from test_game import CLEAN, ERROR, REWORDED

from medical_team.judge import Question
from medical_team.judge.answers import Answer, Letters, Meaning, Odds
from medical_team.judge.batcher import Batcher
from medical_team.judge.failures import Failures, RunReport
from medical_team.judge.model_judge import ModelJudge, Rules, Unreadable
from medical_team.types import Label

QUESTION = Question(CLEAN, ERROR, REWORDED)
NAN = float("nan")


def odds(harm: float, same: float = 0.0, mass: float = 0.9, realistic_mass: float = 0.9, unclear: float = 0.0) -> Odds:
    return Odds(same, harm, 1 - harm - same - unclear, unclear, mass, 0.8, realistic_mass)


class Scripted:
    """A backend that gives its answers in turn; one that is an exception is raised."""

    name = "scripted 1"

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    async def ask(self, question, mode):
        self.asked.append((question, mode))
        answer = self.answers.pop(0)
        if isinstance(answer, float):
            await asyncio.sleep(answer)
        if isinstance(answer, Exception):
            raise answer
        return answer


def judged(*answers, question=QUESTION, times=1, failures=None, **rules):
    judge = ModelJudge(Scripted(*answers), Rules(**rules), failures)

    async def every():
        return [await judge.judge(question) for _ in range(times)]

    return asyncio.run(every()), judge.backend.asked


@pytest.mark.parametrize(
    ("answer", "label", "reason", "same"),
    [
        (Answer(odds(0.9)), Label.HARMFUL, "ok", False),
        (Answer(odds(0.66)), Label.HARMFUL, "ok", False),
        (Answer(odds(0.1, same=0.8)), Label.SAFE, "ok", True),
        (Answer(odds(0.1, same=0.2)), Label.SAFE, "ok", False),
        (Answer(odds(0.65)), None, "abstain", None),
        (Answer(odds(0.35)), None, "abstain", None),
        (Answer(odds(0.99, mass=0.49)), None, "label_mass", None),
        (Answer(), None, "unreadable", None),
        (Answer(letters=Letters(Meaning.HARM, False)), Label.HARMFUL, "ok", False),
        (Answer(letters=Letters(Meaning.OTHER, True)), Label.SAFE, "ok", False),
        (Answer(odds(0.9), Letters(Meaning.SAME, True)), None, "unreadable", None),
        (Answer(odds(0.1, unclear=0.2)), Label.SAFE, "ok", False),
        (Answer(odds(0.1, unclear=0.3)), None, "abstain", None),
        (Answer(odds(0.0, unclear=1.0)), None, "abstain", None),
        (Answer(odds(0.7, unclear=0.3)), Label.HARMFUL, "ok", False),
        (Answer(letters=Letters(Meaning.UNCLEAR, True)), None, "abstain", None),
        (Answer(odds(0.9), Letters(Meaning.UNCLEAR, True)), None, "unreadable", None),
        (Answer(odds(0.0, same=1.0, mass=1.0, realistic_mass=0.01)), None, "label_mass", None),  # prose: "A man of 40"
        (Answer(odds(0.0, same=1.0), raw="A 40-year-old"), None, "unreadable", None),
        (Answer(odds(NAN, mass=NAN, realistic_mass=NAN)), None, "label_mass", None),
        (Answer(odds(NAN)), None, "abstain", None),
    ],
)
def test_an_answer_becomes_a_verdict_or_says_why_not(answer, label, reason, same):
    ((verdict,), _) = judged(answer, escalate=False)
    assert (verdict.label, verdict.reason, verdict.same_meaning) == (label, reason, same)
    assert (verdict.source, verdict.judge) == ("logit", "scripted 1")


def explained(odds: Odds) -> Answer:
    return Answer(odds, Letters(Meaning.HARM, True), "another drug", "another drug\nAnswer: B Y")


@pytest.mark.parametrize(("mass", "told"), [(0.9, (True, 0.8)), (0.4, (None, None))])
def test_realism_is_told_where_its_letter_could_be_read(mass, told):
    ((verdict,), _) = judged(explained(odds(0.9, realistic_mass=mass)), mode="explain")
    assert (verdict.realistic, verdict.p_realistic) == told


def test_between_the_bounds_an_explanation_is_asked_for_and_decides():
    ((verdict,), asked) = judged(Answer(odds(0.5)), explained(odds(0.9)))
    assert [mode for _, mode in asked] == ["logit", "explain"]
    assert (verdict.label, verdict.source, verdict.rationale) == (Label.HARMFUL, "explain", "another drug")


def test_what_stays_between_the_bounds_is_a_tie():
    reason = Answer(odds(0.5), Letters(Meaning.HARM, True), "hard to say", "…")
    ((verdict,), _) = judged(Answer(odds(0.5)), reason)
    assert (verdict.label, verdict.reason, verdict.source) == (None, "abstain", "explain")


def test_an_explanation_that_cannot_be_read_is_no_verdict():
    ((verdict,), _) = judged(Answer(odds(0.5)), Answer(None, None, "blah", "blah"))
    assert (verdict.label, verdict.reason, verdict.raw) == (None, "unreadable", "blah")


def test_the_same_note_is_asked_about_once():
    (verdicts, asked) = judged(Answer(odds(0.9)), times=3)
    assert len(asked) == 1
    assert [verdict.source for verdict in verdicts] == ["logit", "cache", "cache"]
    assert len({(verdict.label, verdict.p_harm, verdict.judge) for verdict in verdicts}) == 1


def test_failures_are_not_remembered():
    (verdicts, asked) = judged(RuntimeError("gone"), Answer(odds(0.9)), times=2)
    assert [verdict.reason for verdict in verdicts] == ["failed", "ok"]
    assert verdicts[0].label is None and verdicts[0].rationale == "RuntimeError: gone"


def test_the_cases_own_notes_need_no_model():
    for note, label in ((CLEAN, Label.SAFE), (ERROR, Label.HARMFUL)):
        ((verdict,), asked) = judged(question=Question(CLEAN, ERROR, note.upper()))
        assert (verdict.label, verdict.source, asked) == (label, "match", [])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (5.0, "timeout"),
        (TimeoutError("slow"), "timeout"),
        (Unreadable("<html>"), "unreadable"),
        (OSError("x"), "failed"),
    ],
)
def test_nothing_that_goes_wrong_is_called_safe(answer, reason):
    ((verdict,), _) = judged(answer, timeout=1.0)
    assert (verdict.label, verdict.reason, verdict.valid) == (None, reason, False)
    assert verdict.rationale


@pytest.mark.parametrize(("on_failure", "stopped"), [("continue", False), ("stop", True)])
def test_a_judge_that_fails_again_and_again_is_told_once_and_its_return_too(tmp_path, on_failure, stopped):
    failures = Failures(3, on_failure, RunReport(tmp_path))
    broken = [RuntimeError("gone")] * 7
    (verdicts, _) = judged(*broken, Answer(odds(0.9)), times=8, failures=failures)
    assert [verdict.reason for verdict in verdicts] == ["failed"] * 7 + ["ok"]
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [(event["kind"], event["level"]) for event in events] == [("judge", "error"), ("judge", "info")]
    assert "3 times in a row" in events[0]["text"] and "gone" in events[0]["text"] and "7 failures" in events[1]["text"]
    assert (tmp_path / "stop.json").exists() is stopped
    if stopped:
        wish = json.loads((tmp_path / "stop.json").read_text())
        assert wish["when"] == "now" and "3 times in a row" in wish["why"]


class FullDisk:
    """A report that finds no room at first."""

    def __init__(self, full: int):
        self.full, self.told = full, []

    def event(self, level, text):
        self._room()
        self.told.append((level, text))

    def stop(self, why):
        self._room()
        self.told.append(("stop", why))

    def _room(self):
        self.full -= 1
        if self.full >= 0:
            raise OSError(errno.ENOSPC, "no space left")


@pytest.mark.parametrize(("on_failure", "told"), [("continue", ["error", "info"]), ("stop", ["stop", "error", "info"])])
def test_on_a_full_disk_the_judge_goes_on_and_the_alarm_comes_once_there_is_room(on_failure, told):
    report = FullDisk(2)
    broken = [RuntimeError("gone")] * 6
    failures = Failures(3, on_failure, report)
    (verdicts, _) = judged(*broken, times=6, failures=failures)
    report.full = 1  # again
    for _ in range(3):
        failures.answered()
    assert [verdict.reason for verdict in verdicts] == ["failed"] * 6
    assert [level for level, _ in report.told] == told and "5 times in a row" in report.told[0][1]


def test_a_line_that_a_full_disk_cut_spoils_not_the_next(tmp_path):
    (tmp_path / "events.jsonl").write_text('{"time": 1, "ki')
    RunReport(tmp_path).event("error", "gone")
    assert json.loads((tmp_path / "events.jsonl").read_text().splitlines()[1])["text"] == "gone"


def test_failures_with_answers_between_them_are_no_alarm(tmp_path):
    failures = Failures(2, "stop", RunReport(tmp_path))
    judged(*[RuntimeError("gone"), Answer(odds(0.9, mass=0.1))] * 3, times=1, failures=failures)
    assert not list(tmp_path.iterdir())


def batches(most: int, wait: float, count: int, work=None):
    seen = []

    def answer(batch):
        seen.append(batch)
        return (work or (lambda batch: [one * 10 for one in batch]))(batch)

    async def every():
        batcher = Batcher(answer, most, wait)
        return await asyncio.gather(*[batcher.ask(number) for number in range(count)], return_exceptions=True)

    return asyncio.run(every()), seen


def test_concurrent_questions_share_batches_and_get_their_own_answers():
    answers, seen = batches(most=4, wait=0.05, count=10)
    assert answers == [number * 10 for number in range(10)]
    assert [len(batch) for batch in seen] == [4, 4, 2]


def test_a_batch_that_fails_takes_nobody_else_with_it():
    def work(batch):
        if 0 in batch:
            raise RuntimeError("too big")
        return batch

    answers, _ = batches(most=2, wait=0.01, count=4, work=work)
    assert [type(answer) for answer in answers] == [RuntimeError, RuntimeError, int, int]


def test_one_batcher_serves_one_event_loop_after_the_other():
    batcher = Batcher(lambda batch: [one * 10 for one in batch], 8, 0.01)
    for number in range(3):
        assert asyncio.run(asyncio.wait_for(batcher.ask(number), 5)) == number * 10


def test_who_no_longer_waits_is_not_asked_about():
    seen = []

    async def some():
        batcher = Batcher(lambda batch: seen.append(batch) or batch, 8, 0.1)
        gone = asyncio.ensure_future(batcher.ask(1))
        stays = asyncio.ensure_future(batcher.ask(2))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert asyncio.run(some()) == 2 and seen == [[2]]
