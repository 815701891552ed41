"""From a run's files to the index: whatever is new, once.

The rows of a chunk and the offset behind it are written in one transaction, and the offset is read again inside it: two
ingesters at once, or one that was killed, neither lose a line nor take one twice.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from launcher import store_games, store_health, store_judge, store_probes, tail, trainer_log
from launcher.alerts import AlertLine
from launcher.reviews import Review
from launcher.store import BadLine, Event, Failure, Mark, MemoryPoint, Process, Progress, Run, Store
from launcher.tail import Line
from launcher.trainer_log import Parser
from medical_team.judge.probing import ProbeRecord
from medical_team.records import GameRecord

EXCERPT = 200
"""Bytes kept of a line that could not be used."""

LARGEST = 2**63
"""SQLite holds whole numbers below this."""


@dataclass(frozen=True)
class Ingested:
    """How much was new."""

    metrics: int = 0
    """Values of the trainer's metrics."""
    games: int = 0
    memory: int = 0
    events: int = 0
    bad: int = 0

    def __add__(self, other: "Ingested") -> "Ingested":
        return Ingested(
            self.metrics + other.metrics, self.games + other.games, self.memory + other.memory,
            self.events + other.events, self.bad + other.bad,
        )  # fmt: skip


class _Taken(NamedTuple):
    """What became of some lines."""

    new: Ingested
    bad: list[BadLine]
    state: str | None = None


class _Source(NamedTuple):
    """One file of a run, and what takes its lines: (store, run, file, lines, what it remembered)."""

    file: str
    take: Callable[[Store, str, str, list[Line], str | None], _Taken]


class _Config(BaseModel):
    """What the index shows of config.json."""

    model_config = ConfigDict(extra="ignore")

    name: str | None = None
    preset: str | None = None
    created: float | None = None


class _State(BaseModel):
    """What the index shows of state.json."""

    model_config = ConfigDict(extra="ignore")

    state: str | None = None
    phase: str | None = None
    step: int | None = None
    steps: int | None = None
    attempts: tuple[int, ...] = (0,)
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    reason: str | None = None


class _MemoryLine(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    time: float
    phase: str
    total_mb: float
    source: Literal["pss", "nvml"]
    processes: tuple["_ProcessLine", ...]


class _ProcessLine(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    pid: int
    name: str
    role: Literal["policy", "reference", "rollout", "judge", "ray", "other"]
    mb: float


class _EventLine(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    time: float
    kind: str
    level: Literal["info", "warning", "error"]
    text: str


def ingest_all(store: Store, runs: Path) -> Ingested:
    """Ingests every run of the folder: every subfolder with a config.json."""
    folders = sorted(path.parent for path in runs.glob("*/config.json"))
    return sum((ingest(store, folder) for folder in folders), Ingested())


def ingest(store: Store, folder: Path, finish: bool = False) -> Ingested:
    """Takes what is new in the run's files. Call it as often as you like.

    With `finish` nothing more is to come: a last line that was never completed is counted as torn.
    """
    run = folder.name
    store.renew()
    new = _take_header(store, run, folder)
    for source in _sources(folder):
        new += _take_file(store, run, folder, source, finish)
    return new


def _sources(folder: Path) -> Iterator[_Source]:
    """The trainer's logs, oldest start first, then the rest."""
    logs = [path.name for path in folder.glob("train*.log") if _attempt(path.name)]
    for name in sorted(logs, key=_attempt):
        yield _Source(name, _take_log)
    for path in sorted(folder.glob("games/*.jsonl")):
        yield _Source(f"games/{path.name}", _take_games)
    for path in sorted(folder.glob("probes/*.jsonl")):
        yield _Source(f"probes/{path.name}", _take_probes)
    yield _Source("reviews.jsonl", _take_reviews)
    yield _Source("memory.jsonl", _take_memory)
    yield _Source("events.jsonl", _take_events)


def _attempt(log: str) -> int:
    """train.log is the first start's, train-2.log the second's; 0 for any other name."""
    number = log.removeprefix("train").removesuffix(".log").removeprefix("-")
    return 1 if log == "train.log" else int(number) if number.isdecimal() else 0


def _take_file(store: Store, run: str, folder: Path, source: _Source, finish: bool) -> Ingested:
    path, total = folder / source.file, Ingested()
    try:
        while tail.size(path) != store.mark(run, source.file).offset:
            with store.write():
                new, moved = _take_chunk(store, run, path, source)
            total += new
            if not moved:
                break
    except tail.Truncated as error:
        return total + _report(store, run, source.file, store.mark(run, source.file).offset, str(error), b"")
    torn = tail.rest(path, store.mark(run, source.file).offset, EXCERPT) if finish else None
    if torn:
        total += _report(
            store, run, source.file, torn.offset, "torn: the file ends in the middle of this line", torn.text
        )
    return total


def _take_chunk(store: Store, run: str, path: Path, source: _Source) -> tuple[Ingested, bool]:
    """Takes one chunk; inside a transaction. The second value: there was one."""
    mark = store.mark(run, source.file)
    chunk = tail.read(path, mark.offset)
    if not chunk.lines:
        return Ingested(), False
    store.forget_bad_line(run, source.file, mark.offset)
    taken = source.take(store, run, source.file, chunk.lines, mark.state)
    store.add_bad_lines(run, taken.bad)
    store.move(run, source.file, Mark(chunk.offset, mark.lines + len(chunk.lines), taken.state))
    return taken.new + Ingested(bad=len(taken.bad)), True


def _report(store: Store, run: str, file: str, offset: int, reason: str, text: bytes) -> Ingested:
    """Notes a bad line outside of any chunk, once."""
    line = _bad(file, Line(offset, text), reason)
    if line in store.bad_lines_at(run, file, offset):
        return Ingested()
    with store.write():
        store.add_bad_lines(run, [line])
    return Ingested(bad=1)


def _bad(file: str, line: Line, reason: str) -> BadLine:
    return BadLine(file, line.offset, reason, line.text[:EXCERPT].decode("utf-8", "backslashreplace"))


def _take_header(store: Store, run: str, folder: Path) -> Ingested:
    """config.json and state.json: both are small, and replaced whole."""
    config, state = (_text(folder / name) for name in ("config.json", "state.json"))
    known = store.run(run)
    if known and (known.folder, known.config, known.state_json) == (str(folder), config, state):
        return Ingested()
    new, heads = Ingested(), []
    for file, text, model in (("config.json", config, _Config), ("state.json", state, _State)):
        try:
            heads.append(model.model_validate_json(text) if text else model())
        except ValidationError as error:
            heads.append(model())
            new += _report(store, run, file, 0, _why(error), text.encode())
    head, now = heads
    with store.write():
        store.put_run(
            Run(run, str(folder), head.name, head.preset, head.created, config, now.state, now.phase, now.step,
                now.steps, now.attempts[-1] if now.attempts else 0, now.started, now.ended, now.exit_code, now.reason,
                state)
        )  # fmt: skip
    return new


def _text(path: Path) -> str | None:
    """The file's text, bytes that are not UTF-8 marked; None without the file."""
    return path.read_text(encoding="utf-8", errors="backslashreplace") if path.exists() else None


def _take_log(store: Store, run: str, file: str, lines: list[Line], state: str | None) -> _Taken:
    seen = json.loads(state) if state else {"parser": None, "step": None, "bar": [None] * 4}
    parser, step, bar = Parser(seen["parser"]), seen["step"], seen["bar"]
    attempt, values, bad, steps, events, failures = _attempt(file), 0, [], [], [], {}
    for line in lines:
        for event in parser.feed(*line):
            match event:
                case trainer_log.StepMetrics() | trainer_log.EvalMetrics():
                    steps.append((event.step, event.values))
                    values += len(event.values)
                    step = event.step if isinstance(event, trainer_log.StepMetrics) else step
                case trainer_log.Progress():
                    bar = [event.episode, event.episodes, event.done, event.total]
                case trainer_log.Failure():
                    failures[event.offset] = Failure(
                        attempt, event.offset, event.process, event.summary, event.traceback
                    )
                case trainer_log.Checkpoint():
                    text = event.tag or "Hugging Face model"
                    events.append(Event(file, line.offset, None, "checkpoint", "info", f"saved {text}"))
                case trainer_log.Signal():
                    events.append(Event(file, line.offset, None, "signal", "warning", f"the trainer got {event.name}"))
                case trainer_log.Bad():
                    bad.append(_bad(file, line, event.reason))
    store.add_metrics(run, steps)
    store.add_events(run, events)
    for failure in failures.values():
        store.add_failure(run, failure)
    store.put_progress(run, Progress(attempt, parser.phase, 0, *bar), step)
    remembered = json.dumps({"parser": parser.state(), "step": step, "bar": bar})
    return _Taken(Ingested(metrics=values, events=len(events)), bad, remembered)


def _take_games(store: Store, run: str, file: str, lines: list[Line], state: str | None) -> _Taken:
    records, bad = [], []
    for line in lines:
        try:
            records.append((line, _storable(GameRecord.model_validate_json(line.text))))
        except ValueError as error:
            bad.append(_bad(file, line, _why(error)))
    again = store_games.add(store, run, file, records)
    bad += [_bad(file, line, "this game was recorded before") for line in again]
    return _Taken(Ingested(games=len(records) - len(again)), bad)


def _storable(record: GameRecord) -> GameRecord:
    """The record, if its numbers are such that can be averaged and stored. Errors: ValueError."""
    numbers = [record.step, record.attempt, record.started, record.ended]
    for turn in record.turns:
        numbers += turn.tokens or 0, turn.latency_ms or 0.0, turn.raw_reward, turn.baseline, turn.sent_reward
    for verdict in (record.verdict, record.attack_verdict):
        if verdict:
            numbers += verdict.latency_ms, verdict.p_harm or 0.0, verdict.p_realistic or 0.0
    _storable_numbers(*numbers)
    return record


def _storable_numbers(*numbers: float) -> None:
    for number in numbers:
        if not -LARGEST < number < LARGEST or not math.isfinite(number):
            raise ValueError(f"{number} is no number to store")


def _take_probes(store: Store, run: str, file: str, lines: list[Line], state: str | None) -> _Taken:
    records, bad = [], []
    for line in lines:
        try:
            record = ProbeRecord.model_validate_json(line.text)
            _storable_numbers(
                record.step, record.attempt, record.time, record.verdict.latency_ms, record.verdict.p_harm or 0
            )
            records.append((line, record))
        except ValueError as error:
            bad.append(_bad(file, line, _why(error)))
    store_probes.add(store, run, file, records)
    return _Taken(Ingested(), bad)


def _take_reviews(store: Store, run: str, file: str, lines: list[Line], state: str | None) -> _Taken:
    reviews, bad = [], []
    for line in lines:
        try:
            reviews.append(Review.model_validate_json(line.text))
        except ValueError as error:
            bad.append(_bad(file, line, _why(error)))
    store_judge.add_reviews(store, run, reviews)
    return _Taken(Ingested(), bad)


def _take_memory(store: Store, run: str, file: str, lines: list[Line], state: str | None) -> _Taken:
    points, bad = [], []
    for line in lines:
        try:
            points.append((line.offset, _memory_point(_MemoryLine.model_validate_json(line.text))))
        except ValueError as error:
            bad.append(_bad(file, line, _why(error)))
    store.add_memory(run, points)
    return _Taken(Ingested(memory=len(points)), bad)


def _memory_point(line: _MemoryLine) -> MemoryPoint:
    roles: dict[str, float] = {}
    for process in line.processes:
        roles[process.role] = roles.get(process.role, 0.0) + process.mb
    held = tuple(Process(process.pid, process.name, process.role, process.mb) for process in line.processes)
    return MemoryPoint(line.time, line.phase, line.source, line.total_mb, roles, held)


def _take_events(store: Store, run: str, file: str, lines: list[Line], state: str | None) -> _Taken:
    events, alerts, bad = [], [], []
    for line in lines:
        try:
            event = _EventLine.model_validate_json(line.text)
            events.append(Event(file, line.offset, event.time, event.kind, event.level, event.text))
            if event.kind == "alert":
                alerts.append(AlertLine.model_validate_json(line.text))
        except ValueError as error:
            bad.append(_bad(file, line, _why(error)))
    store.add_events(run, events)
    store_health.take(store, run, alerts)
    return _Taken(Ingested(events=len(events)), bad)


def _why(error: ValueError) -> str:
    """One line: where and what."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
