"""A stretch of a trainer's log as people read it: from the end, by blocks, so that its size does not matter."""

import re
from collections.abc import Iterable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from launcher import tail, trainer_log
from launcher.tail import Line

BLOCK = 256 * 1024
"""Bytes looked at together. A longer line comes in pieces of this size."""
BUDGET = 16 * 1024 * 1024
"""Bytes looked through for one window, however few lines pass the filter."""
LONGEST = 4000
"""Characters shown of a line."""


class Level(IntEnum):
    OTHER = 0
    """What carries no level: bars, prints, the lines of a namespace."""
    INFO = 1
    WARNING = 2
    ERROR = 3


class LogLine(NamedTuple):
    offset: int
    level: Level
    phase: str | None
    """What the trainer is doing, on the line where that changes."""
    text: str
    """Without colours and cursor moves; of a progress bar its last state."""


class Window(NamedTuple):
    """Lines in order. Those before it end at byte `start`; it was looked for up to byte `end` of `size`."""

    lines: tuple[LogLine, ...]
    start: int
    end: int
    size: int


class Wanted(NamedTuple):
    """What a window shows."""

    level: Level = Level.OTHER
    """At least this."""
    text: str = ""
    """Part of the line, in whatever case."""


EVERYTHING = Wanted()


def window(path: Path, end: int | None = None, wanted: Wanted = EVERYTHING, most: int = 500) -> Window:
    """The last `most` lines that are wanted, of those before byte `end`; without it, of the whole log."""
    size = tail.size(path)
    end = size if end is None else min(end, size)
    start, found = end, []
    while start > 0 and len(found) <= most and end - start < BUDGET:
        start, lines = _block_before(path, start)
        found = [line for line in readable(lines) if _passes(line, wanted)] + found
    shown = _last_bars(found)
    return Window(tuple(shown[-most:]), shown[-most].offset if len(shown) > most else start, end, size)


def onward(path: Path, start: int, wanted: Wanted = EVERYTHING, most: int = 500) -> Window:
    """The first `most` lines that are wanted, from byte `start` on, where a line begins."""
    size = tail.size(path)
    end, found = start, []
    while end < size and len(found) <= most and end - start < BUDGET:
        lines, end = _block_from(path, end)
        found += (line for line in readable(lines) if _passes(line, wanted))
    shown = _last_bars(found)
    return Window(tuple(shown[:most]), start, shown[most].offset if len(shown) > most else end, size)


def around(path: Path, offset: int, most: int = 500) -> Window:
    """As many lines before the one that starts at byte `offset` as from it on."""
    before, after = window(path, offset, most=most // 2), onward(path, offset, most=most // 2)
    return after._replace(lines=before.lines + after.lines, start=before.start)


def readable(lines: Iterable[Line]) -> Iterator[LogLine]:
    """The lines without noise: empty ones left out, of every row of progress bars the last state kept."""
    parser, phase, level = trainer_log.Parser(), None, Level.OTHER
    for line in lines:
        changes = [event.phase for event in parser.feed(*line) if isinstance(event, trainer_log.PhaseChange)]
        text = plain(line.text)
        if not text.removeprefix(_prefix(text)).strip():
            continue
        level = level_of(text, level)
        new = changes[-1] if changes and (phase or changes[-1] is not trainer_log.Phase.LOADING) else None
        phase = new or phase
        yield LogLine(line.offset, level, new, text)


def plain(line: bytes) -> str:
    """The line as a terminal would leave it standing, at most LONGEST characters."""
    text = _ANSI.sub("", line.decode("utf-8", "backslashreplace")).rstrip("\r\n")
    last = next((part for part in reversed(text.split("\r")) if part.strip()), "")
    return last if len(last) <= LONGEST else f"{last[:LONGEST]}… {len(last) - LONGEST:,} more characters"


def level_of(text: str, before: Level) -> Level:
    """The level that the line states; lines of a traceback belong to the error that they tell of."""
    body = text.removeprefix(_prefix(text))
    if found := _LEVEL.match(body):
        return _LEVELS[found[1]]
    if _ERROR.match(body):
        return Level.ERROR
    if _WARNING.search(body):
        return Level.WARNING
    return before if before is Level.ERROR and body[:1] in (" ", "\t", "|", "+") else Level.OTHER


_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_PREFIX = re.compile(r"(?:\([\w:.-]* ?pid=\d+(?:, ip=[^)]*)?\) ?)*")
_LEVEL = re.compile(r"(?:[\d ,:.-]{8,30}\s+)?\[?(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
_LEVELS = {
    "DEBUG": Level.INFO, "INFO": Level.INFO, "WARNING": Level.WARNING, "ERROR": Level.ERROR, "CRITICAL": Level.ERROR,
}  # fmt: skip
_ERROR = re.compile(
    r"Traceback \(most recent call last\):|(?:[A-Za-z_][\w.]*)?(?:Error|Exception|Interrupt)\b(?::|$)"
    r"|Fatal Python error|\*\*\* SIG[A-Z]+|[\w.-]+\.py: error: "
)
_WARNING = re.compile(r"\b\w*Warning: ")
_BAR = re.compile(r"([^|%]*?):? +\d{1,3}%\|")


def _prefix(text: str) -> str:
    return _PREFIX.match(text).group()


def _passes(line: LogLine, wanted: Wanted) -> bool:
    return line.level >= wanted.level and wanted.text.lower() in line.text.lower()


def _last_bars(lines: list[LogLine]) -> list[LogLine]:
    """The lines; of bars that follow one another the newest of each kind."""
    kept, newer = [], set()
    for line in reversed(lines):
        bar = _BAR.match(line.text)
        if bar is None:
            newer = set()
        elif bar[1] in newer:
            if line.phase and kept:
                kept[-1] = kept[-1]._replace(phase=kept[-1].phase or line.phase)
            continue
        else:
            newer.add(bar[1])
        kept.append(line)
    return kept[::-1]


def _block_before(path: Path, end: int) -> tuple[int, list[Line]]:
    """The whole lines before byte `end`, about a block of them, and where the first one starts."""
    begin = max(0, end - BLOCK)
    data = _read(path, begin, end)
    first = data.find(b"\n", 0, len(data) - 1) + 1 if begin else 0
    return begin + first, list(_lines(data[first:], begin + first))


def _block_from(path: Path, start: int) -> tuple[list[Line], int]:
    """The whole lines from byte `start` on, about a block of them, and where they end."""
    data = _read(path, start, start + BLOCK)
    whole = data.rfind(b"\n") + 1 if len(data) == BLOCK else len(data)
    whole = whole or len(data)
    return list(_lines(data[:whole], start)), start + whole


def _read(path: Path, begin: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(begin)
        return file.read(end - begin)


def _lines(data: bytes, offset: int) -> Iterator[Line]:
    for text in data.removesuffix(b"\n").split(b"\n"):
        yield Line(offset, text)
        offset += len(text) + 1
