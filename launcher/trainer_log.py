"""What OpenRLHF, vLLM and Ray print, as typed events.

A `Parser` is fed whole lines in order. Its events depend on the lines alone, never on how the file was cut into chunks,
and its state is small and can be stored beside the offset. The formats are those of openrlhf 0.11.2 and vllm 0.29.0.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

MAX_LINES, MAX_LINE, MAX_OPEN = 400, 4000, 8
"""Kept of tracebacks: lines of one (from the middle on, the newest), characters of a line, and how many at a time."""


class Phase(StrEnum):
    """What the trainer is doing, as far as its log tells."""

    LOADING = "loading"
    GENERATING = "generating"
    EXPERIENCE = "making experience"
    TRAINING = "training"
    BROADCASTING = "broadcasting"
    SAVING = "saving"
    EVALUATING = "evaluating"
    ENDING = "ending"


@dataclass(frozen=True)
class StepMetrics:
    """A finished training step. Values may be nan or infinite."""

    step: int
    values: dict[str, float]


@dataclass(frozen=True)
class EvalMetrics:
    """An evaluation after `step`."""

    step: int
    values: dict[str, float]


@dataclass(frozen=True)
class Checkpoint:
    """Something was saved. DeepSpeed's regular checkpoints print nothing; their folders tell."""

    kind: str
    """best: the best evaluation so far. model: a Hugging Face model is being written."""
    tag: str | None
    step: int | None


@dataclass(frozen=True)
class PhaseChange:
    phase: Phase


@dataclass(frozen=True)
class Progress:
    """The episode's bar: prompts done, of `total`."""

    episode: int
    episodes: int
    done: int
    total: int


@dataclass(frozen=True)
class Failure:
    """An error, without the prefixes of Ray and vLLM. Comes again, longer, with each further line of the same traceback
    that names an exception: `offset`, where the traceback starts, says which one it is."""

    offset: int
    process: str
    """Empty for the trainer's main process, whose traceback is what ended it."""
    summary: str
    """The exception that says most: the first that is not a wrapper of Ray's."""
    traceback: str


@dataclass(frozen=True)
class Signal:
    """The process was asked or forced to end."""

    name: str


@dataclass(frozen=True)
class Bad:
    """A line that looks like metrics and cannot be read."""

    reason: str


Event = StepMetrics | EvalMetrics | Checkpoint | PhaseChange | Progress | Failure | Signal | Bad

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SECONDS = re.compile(r"[ \d]{5}\.\d\d ")  # "%8.2f ": seconds since the start, as some recorders put before each line
_PREFIX = re.compile(
    r"(?:\([\w:.-]* ?pid=\d+(?:, ip=[^)]*)?\) )*"  # Ray's actor, then vLLM's process
    r"(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d \[?[\w.]+:\d+\] )?"
)
_LOGGED = re.compile(r"(?:INFO|WARNING|ERROR) \d\d-\d\d \d\d:\d\d:\d\d \[?[\w.]+:\d+\] ")
_STEP = re.compile(r"(?:✨ )?Global step (\d{1,15}): ")
_EVAL = re.compile(
    r"(?:✨ )?(?:Evaluation completed in [^{]*?global_step|Eval at step) (\d{1,15})(?:, eval_metrics)?: "
)
_LIKE_METRICS = re.compile(r"Global step |Evaluation completed in |Eval at step |eval_metrics: ")
_BEST = re.compile(r"Saved best checkpoint: (\w*?global_step(\d{1,15}))")
_EPISODE = re.compile(r"Episode \[(\d+)/(\d+)\]: +\d+%\|[^|]*\| (\d+)/(\d+) \[")
_SIGNAL = re.compile(r"\*\*\* (SIG[A-Z]+) received at time=\d+")

_NUMBER = r"-?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|inf|nan)"
_ITEM = re.compile(rf"'([^'\\]+)': ({_NUMBER})")
_DICT = re.compile(rf"\{{(?:'[^'\\]+': {_NUMBER}(?:, (?=')|(?=\}})))*\}}")

CREATION = "Exception raised in creation task"
"""How the text of a Failure begins where one of Ray's actors could not start; the time and the place may come before it."""

_TRACEBACK = "Traceback (most recent call last):"
_UNHANDLED = re.compile(rf"(?:.*ERROR worker\.py:\d+ -- )?(?:Unhandled error \(suppress|{CREATION})")
_EXCEPTION = re.compile(r"(?:[A-Za-z_][\w.]*)?(?:Error|Exception|Interrupt|Exit|Timeout|Warning)\b.*")
_WRAPPER = re.compile(r"ray\.exceptions\.RayTaskError|ray\.exceptions\.\w*Actor\w*Error")
_CHAIN = ("During handling of the above exception", "The above exception was the direct cause")
_ALONE = re.compile(
    r"[\w.-]+\.py: error: .+"  # argparse
    r"|Fatal Python error: .+"
    r"|.*Workers \(tasks / actors\) killed due to memory pressure \(OOM\).*"
)

# Phase -> what starts it, and from which phases. Processes print side by side, so a late line must not turn time back.
_ANY = frozenset(Phase)
_MARKS = (
    (Phase.LOADING, r"Started a local Ray instance|Connecting to existing Ray cluster", _ANY),
    (Phase.GENERATING, r"Generate samples:", {Phase.LOADING, Phase.SAVING}),
    (Phase.EXPERIENCE, r"Starting experience making", {Phase.LOADING, Phase.GENERATING, Phase.SAVING}),
    (Phase.TRAINING, r"Train epoch \[", {Phase.EXPERIENCE}),
    (Phase.BROADCASTING, r"update weight: ", {Phase.EXPERIENCE, Phase.TRAINING}),
    (Phase.EVALUATING, r"Evaluation start time|Starting async evaluation", _ANY),
    (Phase.SAVING, r"New best eval metric:|Saved best checkpoint:|Writing model shards: +0%", _ANY - {Phase.LOADING}),
    (Phase.ENDING, r"\[shutdown\] ", _ANY - {Phase.LOADING}),
)
_MARKS_IN = {now: [(phase, re.compile(mark)) for phase, mark, before in _MARKS if now in before] for now in Phase}

# In a phase only lines with one of these can say anything, unless a traceback is open.
_ALWAYS = (
    r"Global step |Eval at step |Evaluation |best checkpoint|Episode \[|model shards"
    r"|Traceback \(most|Unhandled error|creation task|\*\*\* SIG|: error: |Fatal Python|memory pressure"
)
_TELLING = {
    now: re.compile("|".join([_ALWAYS, *(mark.pattern for _, mark in _MARKS_IN[now])]).encode()) for now in Phase
}


@dataclass
class _Open:
    """A traceback that may go on, of the process that prints with `prefix`."""

    prefix: str
    offset: int
    lines: list[str]
    summary: str = ""

    def add(self, line: str) -> None:
        self.lines.append(line)
        if len(self.lines) > MAX_LINES:
            del self.lines[MAX_LINES // 2]


class Parser:
    """Turns lines into events. `state()` holds all that it remembers; `Parser(state)` goes on from there."""

    def __init__(self, state: dict | None = None):
        self.phase = Phase(state["phase"]) if state else None
        self._open = [_Open(**one) for one in state["open"]] if state else []

    def state(self) -> dict:
        """A small value for JSON."""
        return {"phase": self.phase, "open": [asdict(one) for one in self._open]}

    def feed(self, offset: int, line: bytes) -> list[Event]:
        """The events of one line, which starts at byte `offset` of the log."""
        if self.phase is None:
            self.phase = Phase.LOADING
            return [PhaseChange(Phase.LOADING), *self.feed(offset, line)]
        if not line.isascii() and not _is_utf8(line):
            return [Bad("not UTF-8")]
        if not self._open and not _TELLING[self.phase].search(line):
            return []
        text = _ANSI.sub("", line.decode())
        text = text[9:] if _SECONDS.match(text) else text
        prefix = _PREFIX.match(text).group()
        events = list(self._failures(offset, prefix, text[len(prefix) :].rstrip()[:MAX_LINE]))
        for part in text.split("\r"):
            events += self._part(part)
        return events

    def _part(self, part: str) -> Iterator[Event]:
        logged = _LOGGED.search(part)
        message = part[logged.end() :] if logged else ""
        if message.startswith("Sample: "):  # text of the model, which may hold anything
            return
        if found := _STEP.match(message):
            yield _metrics(StepMetrics, int(found[1]), message[found.end() :])
            yield from self._enter(Phase.GENERATING)
        elif found := _EVAL.match(message):
            yield _metrics(EvalMetrics, int(found[1]), message[found.end() :])
            yield from self._enter(Phase.GENERATING)
        elif _LIKE_METRICS.search(part):
            yield Bad("looks like metrics, but not in the trainer's format")
        elif found := _BEST.match(message):
            yield Checkpoint("best", found[1], int(found[2]))
        elif "Writing model shards: 100%" in part and self.phase is Phase.SAVING:
            yield Checkpoint("model", None, None)
        elif found := _SIGNAL.match(part):
            yield Signal(found[1])
        elif found := _EPISODE.search(part):
            yield Progress(*map(int, found.groups()))
        for phase, mark in _MARKS_IN[self.phase]:
            if mark.search(part):
                yield from self._enter(phase)

    def _enter(self, phase: Phase) -> Iterator[PhaseChange]:
        if phase is not self.phase:
            self.phase = phase
            yield PhaseChange(phase)

    def _failures(self, offset: int, prefix: str, body: str) -> Iterator[Failure]:
        if body.startswith("Sample: "):
            return
        if body.endswith(_TRACEBACK) or _UNHANDLED.match(body):
            self._close(prefix)
            start = _TRACEBACK if body.endswith(_TRACEBACK) else body
            self._open = [*self._open, _Open(prefix, offset, [start])][-MAX_OPEN:]
            return
        one = next((one for one in self._open if one.prefix == prefix), None)
        if one is None:
            if _ALONE.fullmatch(body):
                yield Failure(offset, prefix.strip(), body, body)
        elif body.startswith(_CHAIN) or not body or body[0] in " \t|+":
            one.add(body)
        elif _EXCEPTION.fullmatch(body):
            one.add(body)
            if not one.summary or _WRAPPER.match(one.summary):
                one.summary = body
            yield Failure(one.offset, one.prefix.strip(), one.summary, "\n".join(one.lines))
        elif not body.startswith("\r"):  # a bar between the lines of a traceback is not its end
            self._close(prefix)

    def _close(self, prefix: str) -> None:
        self._open = [one for one in self._open if one.prefix != prefix]


def _metrics(kind: type[StepMetrics] | type[EvalMetrics], step: int, text: str) -> Event:
    """The event, or Bad. Bare nan and inf are numbers here; nothing is ever evaluated."""
    whole = _DICT.match(text)
    if whole is None:
        return Bad(f"step {step}: not a whole dictionary of numbers")
    return kind(step, {name: float(number) for name, number in _ITEM.findall(whole.group())})


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
