"""Answers of the command line: a run as values for `--json`, and as text for people."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import IO, Any

from launcher import log_window, state, store_charts, store_health, store_page, tail
from launcher.ingest import Ingested
from launcher.reading import Unreadable
from launcher.rundir import RunDir
from launcher.state import State
from launcher.store import Store
from launcher.store_page import GameFilter, Sort
from medical_team.types import Category, Role

Values = dict[str, Any]
EVERYTHING = 10**9


def brief(store: Store, run: RunDir) -> Values:
    """One line of the list."""
    row = store.run(run.id)
    head = {"id": run.id, "name": row.name, "preset": row.preset, "created": row.created}
    try:
        now = state.read(run)
    except Unreadable as error:
        return head | {"state": "unreadable", "phase": None, "step": None, "steps": None, "reason": str(error)}
    return head | {
        "state": now.state if now else "created", "phase": now.phase if now else None,
        "step": now.step if now else 0, "steps": now.steps if now else None, "reason": now.reason if now else None,
    }  # fmt: skip


def whole(store: Store, run: RunDir) -> Values:
    """All that is charted of a run, and what it is computed from."""
    now = state.read(run)
    names = store.metric_names(run.id)
    return brief(store, run) | {
        "folder": str(run.path),
        "run_state": now.model_dump(mode="json") if now else None,
        "config": json.loads(store.run(run.id).config),
        "metrics": {name: [[step, plain(value)] for step, value in store.series(run.id, name)] for name in names},
        "rewards": {role.value: _points(store_charts.rewards(store, run.id, role)) for role in Role},
        "rewards_by_category": {
            category.value: {role.value: _points(store_charts.rewards(store, run.id, role, category)) for role in Role}
            for category in Category
        },
        "rates": _points(store_charts.rates(store, run.id)),
        "agreement": [point._asdict() | {"agree": point.agree} for point in store_charts.reward_agreement(store, run.id)],
        "games": {f"{mode}/{kind}": count for (mode, kind), count in store_charts.counts(store, run.id).items()},
        "memory": [[point.time, point.phase, point.total_mb, point.roles] for point in store.memory(run.id)],
        "alerts": [alert._asdict() for alert in store_health.alerts(store, run.id)],
        "events": [event._asdict() for event in store.events(run.id)],
        "failures": [failure._asdict() for failure in store.failures(run.id)],
        "bad_lines": [line._asdict() for line in store.bad_lines(run.id)],
    }  # fmt: skip


def _points(points: Sequence) -> list[Values]:
    return [point._asdict() for point in points]


def plain(value: float) -> float | str:
    """A number as JSON has it; "nan", "inf" and "-inf" are spelled out."""
    return value if math.isfinite(value) else str(value)


def games(store: Store, run: RunDir, wanted: GameFilter, limit: int | None) -> list[Values]:
    """Whole records, in the order in which they were played."""
    page = store_page.page(store, run.id, wanted, Sort.OLDEST, limit=limit or EVERYTHING)
    return [store_page.read(store, run.id, row.game).model_dump(mode="json") for row in page.games]


def counts(new: Ingested) -> Values:
    return asdict(new)


def columns(rows: Sequence[Sequence[object]]) -> str:
    """The rows as text, columns aligned; the first row is the heading."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def table(found: Sequence[Values]) -> str:
    if not found:
        return "no runs yet; `python -m launcher run --preset cpu-demo` starts one"
    names = ("id", "state", "phase", "step", "steps", "preset", "name", "reason")
    return columns([names, *([row[name] for name in names] for row in found)])


def queue_table(found: Sequence[Values]) -> str:
    if not found:
        return "no run waits"
    since = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["since"])) for row in found]
    rows = [(str(row["place"]), row["run"], row["line"], at) for row, at in zip(found, since, strict=True)]
    return columns([("place", "run", "waits for", "since"), *rows])


def summary(store: Store, run: RunDir) -> str:
    """A run at a glance: how it ended, and its rewards, rates and evaluations over the steps."""
    now = state.read(run)
    if now is None:
        return f"run {run.id}: created, not started"
    lines = [f"run {run.id}: {now.state}, step {now.step} of {now.steps}" + (f" ({now.reason})" if now.reason else "")]
    lines += [f"alert: {one.text}" for one in store_health.alerts(store, run.id) if one.cleared is None]
    lines += ["", curves(store, run.id), *_evaluations(store, run.id)]
    if peak := max((point.total_mb for point in store.memory(run.id)), default=None):
        lines.append(
            f"peak memory {peak / 1024:.1f} GB, {_duration((now.ended or time.time()) - now.started)}, {run.path}"
        )
    return "\n".join(lines)


def curves(store: Store, run: str, rows: int = 10) -> str:
    """Means over up to `rows` stretches of equal length."""
    rates = store_charts.rates(store, run)
    if not rates:
        return "no game of a finished step is recorded"
    rewards = {role: store_charts.rewards(store, run, role) for role in Role}
    size = math.ceil(len(rates) / rows)
    found = [("steps", "games", "attacker reward", "assessor reward", "correct", "faithful", "deceived", "ties")]
    for first in range(0, len(rates), size):
        part = rates[first : first + size]
        steps = {point.step for point in part}
        found.append((
            f"{part[0].step}-{part[-1].step}", sum(point.games for point in part),
            *(_mean([p.mean_reward for p in rewards[role] if p.step in steps]) for role in Role),
            *(_mean([getattr(p, name) for p in part if getattr(p, name) is not None])
              for name in ("correct", "faithful", "deceived", "ties")),
        ))  # fmt: skip
    return columns(found)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _evaluations(store: Store, run: str) -> list[str]:
    points = [point for point in store.evals(run) if point.name.endswith("_pass1")]
    if not points:
        return []
    names = sorted({point.name for point in points})
    by_step: dict[int, dict[str, float]] = {}
    for point in points:
        by_step.setdefault(point.step, {})[point.name] = point.value
    heads = [name.removeprefix("eval_").removesuffix("_pass1") for name in names]
    rows = [("step", *heads), *((step, *map(values.get, names)) for step, values in sorted(by_step.items()))]
    return ["", "evaluation on held-out notes, share correct:", columns(rows), ""]


def _duration(seconds: float) -> str:
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def games_table(found: Sequence[Values]) -> str:
    heads = ("game", "mode", "step", "category", "truth", "answer", "correct", "rewards", "verdict")
    return columns([heads, *map(_game_row, found)])


def _game_row(game: Values) -> tuple:
    assessor = [turn for turn in game["turns"] if turn["role"] == Role.ASSESSOR]
    verdict = game["verdict"] or {}
    return (
        game["game"], game["mode"], game["step"], game["category"], game["truth"],
        " ".join(str(turn["answer"]) for turn in assessor), " ".join(str(turn["correct"]) for turn in assessor),
        " ".join(f"{turn['raw_reward']:g}" for turn in game["turns"]),
        f"{verdict.get('source')}/{verdict.get('reason')}" if verdict else game["drop_reason"],
    )  # fmt: skip


class Tail:
    """What the newest start's trainer printed, as a terminal may show it."""

    def __init__(self, run: RunDir):
        now = state.read(run)
        self._path = run.log(now.attempt if now else 1)
        self._offset = 0

    def last(self, count: int) -> list[str]:
        """The last `count` lines of the file as it is now, looked for from its end: it may be of gigabytes."""
        self._offset = self._whole()
        found = log_window.window(self._path, self._offset, most=count).lines if count > 0 else ()
        return [_visible(line.text) for line in found]

    def _whole(self) -> int:
        """The byte behind the last line that has its end."""
        begin = max(0, tail.size(self._path) - log_window.BLOCK)
        end = tail.rest(self._path, begin, log_window.BLOCK)
        return begin + (end.text.rfind(b"\n") + 1 if end else 0)

    def new(self) -> list[str]:
        """Lines since the last call, a bounded number of bytes of them."""
        chunk = tail.read(self._path, self._offset)
        self._offset = chunk.offset
        return [_visible(line.text.decode("utf-8", "replace")) for line in chunk.lines]


def _visible(line: str) -> str:
    """The line without what a terminal would obey; of a progress bar its last state."""
    shown = line.rstrip("\r").rsplit("\r", 1)[-1]
    return "".join(character for character in shown if character.isprintable() or character == "\t")


class Progress:
    """Shows a run's state on one line of a terminal; elsewhere as a line per step, and per phase before the first."""

    def __init__(self, out: IO[str]):
        self._out, self._shown, self._begun = out, (), time.monotonic()

    def __call__(self, now: State) -> None:
        bar = "#" * round(30 * now.step / now.steps)
        text = f"[{bar:<30}] step {now.step}/{now.steps} {now.phase}"
        if self._out.isatty():
            print(
                f"\r\x1b[K{text} {time.monotonic() - self._begun:.0f} s",
                end="\n" if now.ended_already else "",
                file=self._out,
            )
        elif (shown := (now.step, now.state, now.phase if now.step == 0 else "")) != self._shown:
            print(text, file=self._out)
            self._shown = shown
        self._out.flush()
