"""What the status bar says of a run: one frozen value, read from the run's folder and the index."""

import shutil
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from launcher import log_window, queue, store_charts, store_health, tail
from launcher.checkpoints import checkpoint_step
from launcher.health import Kind
from launcher.reading import Unreadable
from launcher.rundir import RunDir, read_json
from launcher.runs import Runs, config_of
from launcher.state import QUEUED, STOPPING, End, State, supervised
from launcher.store import Run, Store

CREATED, STALLED, UNREADABLE = "created", "stalled", "unreadable"
"""States of a run that only a watcher sees: never started, running without a word, and files that are damaged."""

RECENT = 20
"""Steps behind a figure that is said to be the run's present one."""

SILENCE, SILENT_STEPS = 600.0, 10
"""A run has stalled when its supervisor says so, which has learnt how silent each phase may be; where none lives, when its
log has not grown for so many seconds, and for the time of so many steps."""

LAST_LINES = 20
"""Shown of the log of a run that crashed or stalled."""


@dataclass(frozen=True)
class Status:
    """A run at a glance; None for what is not known or does not apply."""

    run: str
    name: str
    state: str
    """created, a phase of the trainer, stopping, stalled, done, stopped or crashed."""
    step: int
    steps: int
    """0 where it is not known."""
    running: bool
    seconds_a_step: float | None
    """Median of the newest steps, as the trainer measured them."""
    seconds_left: float | None
    memory_mb: float | None
    """Held by the job now."""
    disk_free_mb: float
    no_verdict: float | None
    """Share of the newest steps' games on which the judge had no say: it abstained, timed out or was unreadable."""
    bad_lines: int
    attempt: int
    silent_seconds: float | None
    """Since the log last grew, while the run is running."""
    place: int | None
    """In the queue, 1 for the next to start; None for a run that does not wait."""
    stop_wish: str | None
    """"now" or "checkpoint", from the moment somebody asked."""
    checkpoint_every: int
    """Steps; 0 without checkpoints."""
    reason: str | None
    left_over: tuple[str, ...]
    last_lines: tuple[str, ...]
    """The end of the log, of a run that crashed or stalled."""
    can_resume: bool


@dataclass(frozen=True)
class Listed:
    """A run as the list of runs names it."""

    run: str
    name: str
    state: str


def listed(runs: Runs, store: Store) -> list[Listed]:
    """All runs, newest first, as the index has them."""
    return [Listed(row.id, row.name or row.preset or "", _listed_state(row)) for row in store.runs()]


def _listed_state(row: Run) -> str:
    """The index keeps the text of a state.json that says nothing."""
    return row.state or (UNREADABLE if row.state_json else CREATED)


def _unreadable(store: Store, run: RunDir, reason: str) -> Status:
    """What the index knows of a run whose files are damaged."""
    row = store.run(run.id)
    return Status(
        run=run.id, name=(row.name or row.preset or "") if row else "", state=UNREADABLE, running=False,
        step=store.progress(run.id).step, steps=0, seconds_a_step=None, seconds_left=None, memory_mb=None,
        disk_free_mb=shutil.disk_usage(run.path).free / 2**20, no_verdict=None,
        bad_lines=sum(store.count_bad_lines(run.id).values()), attempt=1, silent_seconds=None, place=None, stop_wish=None,
        checkpoint_every=0, reason=reason, left_over=(), last_lines=(), can_resume=False,
    )  # fmt: skip


def snapshot(runs: Runs, store: Store, run: RunDir) -> Status:
    """How the run stands. Looking makes its state true, as `Runs.look` does."""
    try:
        now, config = runs.look(run), config_of(run)
    except Unreadable as error:
        return _unreadable(store, run, str(error))
    log = run.log(now.attempt if now else 1)
    step_seconds = seconds_a_step(store, run.id, now.step if now else 0)
    running = now is not None and not now.ended_already
    waits = now is not None and now.state == QUEUED
    silent = _silent_seconds(now, log) if running and not waits else None
    wish = stop_wish(run)
    told_stalled = any(one.kind == Kind.STALLED and one.cleared is None for one in store_health.alerts(store, run.id))
    shown = _state(now, wish, silent, step_seconds, told_stalled)
    return Status(
        run=run.id, name=config.name or config.preset or "", state=shown, running=running,
        step=now.step if now else 0, steps=now.steps if now else config.train.steps,
        seconds_a_step=step_seconds,
        seconds_left=(now.steps - now.step) * step_seconds if running and step_seconds is not None else None,
        memory_mb=_memory_now(store, run.id) if running else None,
        disk_free_mb=shutil.disk_usage(run.path).free / 2**20,
        no_verdict=no_verdict(store, run.id, now.step if now else 0),
        bad_lines=sum(store.count_bad_lines(run.id).values()),
        attempt=now.attempt if now else 1, silent_seconds=silent,
        place=queue.place(runs.folder, run.id) if waits else None, stop_wish=wish if running else None,
        checkpoint_every=config.checkpoint.steps, reason=now.reason if now else None,
        left_over=now.left_over if now else (),
        last_lines=last_lines(log) if shown in (End.CRASHED, STALLED) else (),
        can_resume=can_resume(run, now),
    )  # fmt: skip


def seconds_a_step(store: Store, run: str, step: int) -> float | None:
    found = [point.value for point in store.series(run, "timing/step_total", since=step - RECENT)]
    return statistics.median(found) if found else None


def no_verdict(store: Store, run: str, step: int) -> float | None:
    """Share of the games of the newest steps without a truth, which is to say: without a verdict."""
    points = [point for point in store_charts.rates(store, run, since=step - RECENT) if point.ties is not None]
    games = sum(point.games for point in points)
    return sum(point.ties * point.games for point in points) / games if games else None


def stop_wish(run: RunDir) -> str | None:
    """What was asked for; the supervisor takes the file away when it is done."""
    with suppress(FileNotFoundError):
        return str(read_json(run.stop)["when"])
    return None


def can_resume(run: RunDir, now: State | None) -> bool:
    if now is None or not now.ended_already or now.state == End.DONE:
        return False
    saved = checkpoint_step(run)
    return saved < now.steps and (saved > 0 or now.trainer is None)


def last_lines(log: Path, lines: int = LAST_LINES) -> tuple[str, ...]:
    """The log's last lines as the page Logs shows them, with control characters made visible."""
    return _last_lines(log, tail.size(log), lines) if log.exists() else ()


@lru_cache(maxsize=4)
def _last_lines(log: Path, size: int, lines: int) -> tuple[str, ...]:
    return tuple(visible(line.text) for line in log_window.window(log, size, most=lines).lines)


def visible(text: str) -> str:
    """The text with every character that would act instead of being shown written as its code point."""
    return "".join(one if one.isprintable() or one == "\t" else f"\\u{ord(one):04x}" for one in text)


def _state(
    now: State | None, wish: str | None, silent: float | None, step_seconds: float | None, told_stalled: bool
) -> str:  # fmt: skip
    if now is None:
        return CREATED
    if now.ended_already:
        return now.state
    if wish == "now":
        return STOPPING
    unwatched = silent is not None and not supervised(now)
    if told_stalled or unwatched and silent > max(SILENCE, SILENT_STEPS * (step_seconds or 0)):
        return STALLED
    return now.phase


def _silent_seconds(now: State, log: Path) -> float:
    heard = max(now.last_event, log.stat().st_mtime) if log.exists() else now.last_event
    return max(0.0, time.time() - heard)


def _memory_now(store: Store, run: str) -> float | None:
    found = store.memory(run, since=time.time() - 10)
    return found[-1].total_mb if found else None
