"""The index of all runs in SQLite: opening it, and all of it but the games (`store_games`).

Files are the truth. Whatever is here can be deleted and read again from the run folders. Several processes may have the
index open: readers never wait, writers take turns.
"""

import json
import math
import sqlite3
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

# sqlite-utils loads pandas where it is installed, for a method that nobody calls here: half a second at every start.
_kept_out = sys.modules.setdefault("pandas", None) is None
from sqlite_utils import Database  # noqa: E402

if _kept_out:
    del sys.modules["pandas"]

from launcher.migrations import migrations  # noqa: E402

PATIENCE = 60.0
"""Seconds that a writer waits for another one."""

LAST = 2**63 - 1
"""No step comes after it."""

MEMORY_ROLES = ("policy", "reference", "rollout", "judge", "ray", "other")


class NoIndex(OSError):
    """The index cannot be opened or made. The message says what to look at."""


class Run(NamedTuple):
    """A run as its config.json and state.json tell; None where they do not."""

    id: str
    folder: str
    name: str | None
    preset: str | None
    created: float | None
    config: str | None
    """The text of config.json."""
    state: str | None
    phase: str | None
    step: int | None
    steps: int | None
    start_step: int
    """The step that the newest start went on from."""
    started: float | None
    ended: float | None
    exit_code: int | None
    reason: str | None
    state_json: str | None


class Mark(NamedTuple):
    """How far a file was read, and what its reader remembers."""

    offset: int
    lines: int
    state: str | None


class BadLine(NamedTuple):
    """A line that could not be used."""

    file: str
    offset: int
    reason: str
    excerpt: str


class Point(NamedTuple):
    """One value of a metric; nan and infinities are kept."""

    step: int
    value: float


class EvalPoint(NamedTuple):
    name: str
    step: int
    value: float


class Progress(NamedTuple):
    """What the newest start's log says. `step` is the last finished step; the bar counts prompts of an episode."""

    attempt: int
    phase: str
    step: int
    episode: int | None
    episodes: int | None
    done: int | None
    total: int | None


class Failure(NamedTuple):
    """An error that a process of the trainer printed; `process` is empty for the main one."""

    attempt: int
    offset: int
    process: str
    summary: str
    traceback: str


class Event(NamedTuple):
    """Something that happened. `time` is None for what the trainer's log tells: its lines carry no usable time."""

    file: str
    offset: int
    time: float | None
    kind: str
    level: str
    text: str


class Process(NamedTuple):
    pid: int
    name: str
    role: str
    mb: float


class MemoryPoint(NamedTuple):
    """Memory that the job held at one moment, in MB."""

    time: float
    phase: str
    source: str
    """pss: main memory, shared pages counted in parts. nvml: device memory."""
    total_mb: float
    roles: dict[str, float]
    processes: tuple[Process, ...]


class Store:
    """The database at `path`, made if need be. Every thread gets a connection of its own.

    A file that is no database, or a damaged one, is set aside: all of it can be read again from the runs' files. Errors:
    NoIndex where none can be opened.
    """

    def __init__(self, path: Path, patience: float = PATIENCE):
        self.path, self.patience = Path(path), patience
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        try:
            _migrate(self.connection)
        except sqlite3.OperationalError as error:
            self.close()
            raise NoIndex(
                f"the index {self.path} cannot be used: {error}; see whether {self.path.parent} can be written to, "
                "and who else has it open"
            ) from error
        except sqlite3.DatabaseError:
            self.set_aside()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections of all threads."""
        while self._connections:
            self._connections.pop().close()
        self._local = threading.local()

    @property
    def connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            self._local.file = _file(self.path)
            self._local.connection = _connect(self.path, self.patience)
            self._local.file = _file(self.path)
            self._connections.append(self._local.connection)
        return self._local.connection

    def renew(self) -> bool:
        """True if the file is another one than was opened: then this thread goes on with that."""
        if not hasattr(self._local, "connection") or _file(self.path) in (self._local.file, None):
            return False
        self._connections.remove(self._local.connection)
        self._local.connection.close()
        del self._local.connection
        _migrate(self.connection)
        return True

    def damage(self) -> str | None:
        """What is wrong with the file, None if nothing is. Reads it whole."""
        try:
            found = self.rows("PRAGMA quick_check(1)")[0][0]
        except sqlite3.DatabaseError as error:
            return str(error)
        return None if found == "ok" else found

    def set_aside(self) -> Path | None:
        """Puts a damaged file aside and begins a new one, empty. Returns where the old one is, None if another process was
        faster."""
        seen, aside = (
            getattr(self._local, "file", None),
            self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}"),
        )
        self.close()
        if _file(self.path) == seen:
            self.path.rename(aside)
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    self.path.with_name(self.path.name + suffix).rename(f"{aside}{suffix}")
        _migrate(self.connection)
        return aside if aside.exists() else None

    @contextmanager
    def write(self) -> Iterator[None]:
        """One transaction that no other writer can come between. Everything named add, put or move belongs in one."""
        with _transaction(self.connection):
            yield

    def rows(self, sql: str, *values) -> list[tuple]:
        """Of the file that is there now: it may have been deleted and made again."""
        if not self.connection.in_transaction:
            self.renew()
        return self.connection.execute(sql, values).fetchall()

    def revision(self) -> tuple:
        """Another value whenever somebody else, another thread included, wrote to the index. To be compared with what
        the same thread was told before."""
        version = self.rows("PRAGMA data_version")[0][0]
        return self._local.file, version

    def newest(self, run: str) -> tuple | None:
        """Another value whenever the run's curves have grown; None without the run."""
        found = self.rows(
            """SELECT progress.attempt, progress.step, (SELECT max(time) FROM memory WHERE run = runs.id),
                (SELECT sum(games) FROM step_games WHERE run = runs.id AND category = ''
                 AND step BETWEEN progress.step - 2 AND progress.step)
            FROM runs LEFT JOIN progress ON progress.run = runs.id WHERE id = ? ORDER BY progress.attempt DESC LIMIT 1""",
            run,
        )
        return found[0] if found else None

    # runs

    def put_run(self, run: Run) -> None:
        Database(self.connection, execute_plugins=False)["runs"].upsert(run._asdict(), pk="id")

    def run(self, id: str) -> Run | None:
        found = self.rows(f"SELECT {_columns(Run)} FROM runs WHERE id = ?", id)
        return Run(*found[0]) if found else None

    def runs(self) -> list[Run]:
        """All runs, newest first."""
        return [Run(*row) for row in self.rows(f"SELECT {_columns(Run)} FROM runs ORDER BY created DESC, id DESC")]

    # how far files were read

    def mark(self, run: str, file: str) -> Mark:
        found = self.rows("SELECT offset, lines, state FROM offsets WHERE run = ? AND file = ?", run, file)
        return Mark(*found[0]) if found else Mark(0, 0, None)

    def move(self, run: str, file: str, mark: Mark) -> None:
        self.connection.execute("INSERT OR REPLACE INTO offsets VALUES (?, ?, ?, ?, ?)", (run, file, *mark))

    def marks(self, run: str) -> dict[str, Mark]:
        """By file."""
        rows = self.rows("SELECT file, offset, lines, state FROM offsets WHERE run = ?", run)
        return {file: Mark(*rest) for file, *rest in rows}

    def add_bad_lines(self, run: str, lines: Iterable[BadLine]) -> None:
        self.connection.executemany(
            "INSERT OR REPLACE INTO bad_lines VALUES (?, ?, ?, ?, ?)", [(run, *line) for line in lines]
        )

    def forget_bad_line(self, run: str, file: str, offset: int) -> None:
        """For a line that was torn when it was looked at, and is being read now."""
        self.connection.execute("DELETE FROM bad_lines WHERE run = ? AND file = ? AND offset = ?", (run, file, offset))

    def bad_lines(self, run: str, limit: int = 1000) -> list[BadLine]:
        rows = self.rows(
            "SELECT file, offset, reason, excerpt FROM bad_lines WHERE run = ? ORDER BY file, offset LIMIT ?",
            run,
            limit,
        )
        return [BadLine(*row) for row in rows]

    def bad_lines_at(self, run: str, file: str, offset: int) -> list[BadLine]:
        """The bad line that starts there, if any."""
        rows = self.rows(
            "SELECT file, offset, reason, excerpt FROM bad_lines WHERE run = ? AND file = ? AND offset = ?",
            run,
            file,
            offset,
        )
        return [BadLine(*row) for row in rows]

    def count_bad_lines(self, run: str) -> dict[str, int]:
        """By file."""
        return dict(self.rows("SELECT file, count(*) FROM bad_lines WHERE run = ? GROUP BY file", run))

    # the trainer's log

    def add_metrics(self, run: str, steps: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """A value that is there already is replaced: a resumed run makes some steps again, and the last one counts."""
        rows = (
            (run, name, step, value, None) if math.isfinite(value) else (run, name, step, None, repr(value))
            for step, values in steps
            for name, value in values.items()
        )
        self.connection.executemany("INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?, ?)", rows)

    def metric_names(self, run: str) -> list[str]:
        rows = self.rows(
            """WITH RECURSIVE names (name) AS (
                SELECT min(name) FROM metrics WHERE run = ?1
                UNION ALL SELECT (SELECT min(name) FROM metrics WHERE run = ?1 AND name > names.name) FROM names
                WHERE name IS NOT NULL
            ) SELECT name FROM names WHERE name IS NOT NULL""",
            run,
        )
        return [name for (name,) in rows]

    def series(self, run: str, name: str, since: int = -1, until: int = LAST) -> list[Point]:
        """The metric's points after step `since`, up to step `until`, in order of steps."""
        rows = self.rows(
            """SELECT step, coalesce(value, special) FROM metrics
            WHERE run = ? AND name = ? AND step > ? AND step <= ? ORDER BY step""",
            run, name, since, until,
        )  # fmt: skip
        return [Point(step, float(value)) for step, value in rows]

    def values(self, run: str, name: str, since: int = -1) -> list[tuple[int, float | None]]:
        """The same as bare rows, for charts of many steps; None for what is not finite."""
        return self.rows(
            "SELECT step, value FROM metrics WHERE run = ? AND name = ? AND step > ? ORDER BY step", run, name, since
        )

    def evals(self, run: str) -> list[EvalPoint]:
        """Every value of every evaluation, by name and step."""
        rows = self.rows(
            """SELECT name, step, coalesce(value, special) FROM metrics
            WHERE run = ? AND name >= 'eval_' AND name < 'eval`' ORDER BY name, step""",
            run,
        )
        return [EvalPoint(name, step, float(value)) for name, step, value in rows]

    def put_progress(self, run: str, progress: Progress, step: int | None) -> None:
        attempt, phase, _, *bar = progress
        self.connection.execute(
            "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (run, attempt, phase, step, *bar)
        )

    def progress(self, run: str) -> Progress:
        """Of the newest start. Before its first step the step is the one that it went on from."""
        found = self.rows(
            """SELECT attempt, phase, step, episode, episodes, done, total FROM progress
            WHERE run = ? ORDER BY attempt DESC LIMIT 1""",
            run,
        )
        attempt, phase, step, *bar = found[0] if found else (1, "loading", None, None, None, None, None)
        if step is None:
            started = self.run(run)
            step = started.start_step if started else 0
        return Progress(attempt, phase, step, *bar)

    def add_failure(self, run: str, failure: Failure) -> None:
        self.connection.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?)", (run, *failure))

    def failures(self, run: str) -> list[Failure]:
        """All errors, in the order in which they were printed."""
        sql = f"SELECT {_columns(Failure)} FROM failures WHERE run = ? ORDER BY attempt, offset"
        return [Failure(*row) for row in self.rows(sql, run)]

    def failure(self, run: str, before: float = math.inf) -> Failure | None:
        """Why the newest start failed: the first error of the main process, else the first of any. None without one.

        before: byte of its log.
        """
        newest = self.progress(run).attempt
        found = [failure for failure in self.failures(run) if failure.attempt == newest and failure.offset < before]
        return min(found, key=lambda failure: (failure.process != "", failure.offset), default=None)

    # events and memory

    def add_events(self, run: str, events: Iterable[Event]) -> None:
        self.connection.executemany(
            "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", [(run, *event) for event in events]
        )

    def events(self, run: str, since: float = -math.inf) -> list[Event]:
        """Events later than `since` in order of time, then those that have none."""
        rows = self.rows(
            f"""SELECT {_columns(Event)} FROM events WHERE run = ? AND (time IS NULL OR time > ?)
            ORDER BY time IS NULL, time, file, offset""",
            run, since,
        )  # fmt: skip
        return [Event(*row) for row in rows]

    def add_memory(self, run: str, points: Iterable[tuple[int, MemoryPoint]]) -> None:
        """Points with the offsets of their lines."""
        self.connection.executemany(
            "INSERT OR REPLACE INTO memory VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (run, offset, point.time, point.phase, point.source, point.total_mb,
                 *(point.roles.get(role, 0.0) for role in MEMORY_ROLES), json.dumps(point.processes))
                for offset, point in points
            ],
        )  # fmt: skip

    def memory(self, run: str, since: float = -math.inf) -> list[MemoryPoint]:
        """Samples later than `since`, in order."""
        rows = self.rows(
            f"""SELECT time, phase, source, total_mb, processes, {", ".join(MEMORY_ROLES)} FROM memory
            WHERE run = ? AND time > ? ORDER BY time, offset""",
            run, since,
        )  # fmt: skip
        return [_memory_point(*row) for row in rows]

    def memory_by_role(self, run: str, since: float = -math.inf) -> list[tuple[float, ...]]:
        """Time and MB by role, in the order of MEMORY_ROLES, of the samples later than `since`, in order."""
        return self.rows(
            f"""SELECT time, {", ".join(MEMORY_ROLES)} FROM memory
            WHERE run = ? AND time > ? ORDER BY time, offset""",
            run, since,
        )  # fmt: skip


def _memory_point(time: float, phase: str, source: str, total_mb: float, processes: str, *mb: float) -> MemoryPoint:
    held = tuple(Process(*one) for one in json.loads(processes))
    return MemoryPoint(time, phase, source, total_mb, dict(zip(MEMORY_ROLES, mb, strict=True)), held)


def _file(path: Path) -> tuple[int, int] | None:
    """Which file it is; None while there is none."""
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _connect(path: Path, patience: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = NORMAL")  # files are the truth: a lost last transaction is read again
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -16000")
    connection.create_aggregate("fsum", 1, _ExactSum)
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        connection.execute("PRAGMA journal_mode = WAL")
    database = Database(connection, execute_plugins=False)
    if migrations.pending(database):
        with _transaction(connection):
            migrations.apply(database)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.execute("COMMIT")


def _columns(row: type) -> str:
    return ", ".join(row._fields)


class _ExactSum:
    """sum() that does not depend on the order of the rows."""

    def __init__(self):
        self._values: list[float] = []

    def step(self, value: float) -> None:
        self._values.append(value)

    def finalize(self) -> float:
        return math.fsum(self._values)
