"""Trouble that passes: a disk that is full for a while, an index that somebody else holds. Nobody has to end for it."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSING = (errno.ENOSPC, errno.EDQUOT)
BALLAST_BYTES = 64 * 1024


@contextmanager
def tolerated() -> Iterator[None]:
    """Goes on after an error that passes by itself. What is inside must be such as can be done again later."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        if not passes(error):
            raise


def passes(error: Exception) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return any(word in str(error) for word in ("is full", "is locked", "disk I/O error"))
    return isinstance(error, OSError) and error.errno in PASSING


def set_ballast(path: Path) -> None:
    """Room that is kept so that a run's end can be written down even on a full disk."""
    with tolerated():
        path.write_bytes(bytes(BALLAST_BYTES))
