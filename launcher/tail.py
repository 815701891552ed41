"""Reading a file that someone else is still appending to: whole lines only, from where one stopped."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

CHUNK = 4 * 1024 * 1024
"""Bytes read at once, unless a single line is longer."""


BLOCK = 1024 * 1024
"""Bytes of a long line that are read at once."""

LONGEST, KEPT = 16 * 1024 * 1024, 64 * 1024
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
            data = _long_line(file, data)
            whole = len(data) if data.endswith(b"\n") else 0
            if not whole and len(data) == LONGEST:
                return Chunk([Line(offset, data[:KEPT])], offset + LONGEST)
    return Chunk(list(_lines(data[:whole], offset)), offset + whole)


def _long_line(file: BinaryIO, begun: bytes) -> bytes:
    """The line up to its newline, to LONGEST bytes, or to the file's end. In blocks: a line may be damage of gigabytes."""
    parts, length = [begun], len(begun)
    while length < LONGEST and (block := file.read(min(BLOCK, LONGEST - length))):
        end = block.find(b"\n") + 1
        parts.append(block[:end] if end else block)
        length += len(parts[-1])
        if end:
            break
    return b"".join(parts)


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
