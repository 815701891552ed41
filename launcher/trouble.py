"""Trouble that passes: a disk that is full for a while, an index that somebody else holds. Nobody has to end for it."""

import errno
import sqlite3
from collections.abc import Callable, Iterator
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


def passes(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return any(word in str(error) for word in ("is full", "is locked", "disk I/O error"))
    return isinstance(error, OSError) and (error.errno in PASSING or passes(error.__cause__))


class Looks:
    """Looking at a run that somebody else works on. A look that fails is told once of each kind, and ends nothing.

    tell: takes what is to be told. mend: takes the error of a damaged index.
    """

    def __init__(self, tell: Callable[[str], None], mend: Callable[[Exception], None]):
        self._tell, self._mend = tell, mend
        self._told: set[tuple[str, str]] = set()

    @contextmanager
    def at(self, what: str) -> Iterator[None]:
        """What is inside is a look at this, and can be done again later."""
        try:
            yield
        except Exception as error:
            self._answer(what, error)

    def _answer(self, what: str, error: Exception) -> None:
        if not damaged(error):
            return self._failed(what, error)
        try:
            self._mend(error)
        except Exception as worse:
            self._failed("the damaged index", worse)

    def _failed(self, what: str, error: Exception) -> None:
        kind = (what, type(error).__name__)
        if passes(error) or kind in self._told:
            return
        self._told.add(kind)
        self._tell(f"{what} could not be looked at: {kind[1]}: {error}")


def damaged(error: Exception) -> bool:
    """The index is no database any more, or a part of it is none."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, (sqlite3.OperationalError, sqlite3.ProgrammingError)
    )


def set_ballast(path: Path) -> None:
    """Room that is kept so that a run's end can be written down even on a full disk."""
    with tolerated():
        path.write_bytes(bytes(BALLAST_BYTES))
