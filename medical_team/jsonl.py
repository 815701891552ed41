"""Appending a line to a file that others read, and that a full disk may have cut."""

import errno
import os
from pathlib import Path


def append(path: Path, line: str) -> None:
    """Writes the line whole, in one go, on a line of its own whatever was left of the one before.

    Errors: OSError, also where only a part of it found room.
    """
    text = line.encode("utf-8", "backslashreplace") + b"\n"
    with path.open("ab+", buffering=0) as file:
        if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
            text = b"\n" + text
        if file.write(text) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
