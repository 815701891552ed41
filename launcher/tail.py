"""Reading a file that someone else is still appending to: whole lines only, from where one stopped."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

CHUNK = 4 * 1024 * 1024
"""Bytes read at once, unless a single line is longer."""


BLOCK = 1024 * 1024
"""Bytes of a long line that are read at once."""

LONGEST, KEPT = 64 * 1024 * 1024, 64 * 1024
"""A line longer than this is no line but damage: it is cut into pieces of that length, and so much is kept of each."""


class Truncated(ValueError):
    """The file is shorter than what was read of it: someone cut or replaced it, and what follows is unknown."""


class Line(NamedTuple):
    """One line without its newline, and the byte at which it starts."""

    offset: int
    text: bytes


class Chunk(NamedTuple):
    """Whole lines in order, and the byte at which to go on."""

    lines: list[Line]
    offset: int


def size(path: Path) -> int:
    """Bytes in the file now; 0 as long as it does not exist."""
    return path.stat().st_size if path.exists() else 0


def read(path: Path, offset: int, limit: int = CHUNK) -> Chunk:
    """The whole lines from `offset` on, about `limit` bytes of them: more only where one line is longer, and never more
    than LONGEST.

    Lines end at a newline byte alone: a JSON string may hold U+2028, a log line may hold carriage returns. A last line
    without its newline is left for later. Errors: Truncated.
    """
    length = size(path)
    if length < offset:
        raise Truncated(f"{path} has {length} bytes, but {offset} were read of it before")
    if length == offset:
        return Chunk([], offset)
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(limit)
        whole = data.rfind(b"\n") + 1
        if not whole:
            file.seek(offset)
            whole = _line_end(file) or 0
            file.seek(offset)
            if whole == LONGEST:
                return Chunk([Line(offset, file.read(KEPT))], offset + LONGEST)
            data = file.read(whole)
    return Chunk(list(_lines(data[:whole], offset)), offset + whole)


def _line_end(file: BinaryIO) -> int | None:
    """Bytes from here to behind the next newline, LONGEST if it is not among so many; None if the file ends before.

    Keeps none of them: a line may be damage of gigabytes.
    """
    block, length = bytearray(BLOCK), 0
    while length < LONGEST:
        got = file.readinto(block)
        if end := block.find(b"\n", 0, got) + 1:
            return min(length + end, LONGEST)
        if not got:
            return None
        length += got
    return LONGEST


def rest(path: Path, offset: int, limit: int) -> Line | None:
    """The first `limit` bytes of a last line that has no newline; None if the file ends with a whole line."""
    if size(path) <= offset:
        return None
    with path.open("rb") as file:
        file.seek(offset)
        return Line(offset, file.read(limit))


def _lines(whole: bytes, offset: int) -> Iterator[Line]:
    for text in whole.split(b"\n")[:-1]:
        yield Line(offset, text)
        offset += len(text) + 1
