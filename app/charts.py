"""Curves as numbers: smoothing, then thinning to what a screen can show. Pure: rows in, columns out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Value = float | None
"""None where there is nothing to show: a gap in the curve."""

FORGOTTEN = 1e-4
"""Share of a smoothed value that may be missing because the points behind it were not read."""

DIGITS = 8
"""Significant digits of a value on the wire."""


@dataclass(frozen=True)
class Table:
    """Curves over the same `x`, in order: steps, or Unix seconds."""

    x: tuple[float, ...]
    columns: dict[str, tuple[Value, ...]]

    def __post_init__(self):
        assert all(len(column) == len(self.x) for column in self.columns.values())

    def rows(self, chosen: Sequence[int]) -> "Table":
        """The rows with these indices."""
        return Table(
            tuple(self.x[i] for i in chosen),
            {name: tuple(column[i] for i in chosen) for name, column in self.columns.items()},
        )

    def after(self, x: float) -> "Table":
        return self.rows([i for i, at in enumerate(self.x) if at > x])

    def up_to(self, x: float) -> "Table":
        return self.rows([i for i, at in enumerate(self.x) if at <= x])


def table(curves: Mapping[str, Iterable[tuple[float, Value]]]) -> Table:
    """Curves of (x, value) side by side; a curve without a value at some x has a gap there."""
    found = {name: {x: finite(value) for x, value in points} for name, points in curves.items()}
    xs = tuple(sorted(set().union(*found.values())))
    return Table(xs, {name: tuple(points.get(x) for x in xs) for name, points in found.items()})


def finite(value: Value) -> Value:
    return value if value is not None and math.isfinite(value) else None


def smoothed(values: Iterable[Value], weight: float) -> tuple[Value, ...]:
    """Exponential mean in which a value counts `weight` times as much as the next, from 0 (as it is) to below 1.

    Corrected for its start, as TensorBoard does, so that the first value is itself. Gaps stay gaps.
    """
    sums = norm = 0.0
    out: list[Value] = []
    for value in values:
        if value is not None:
            sums, norm = weight * sums + value, weight * norm + 1.0
        out.append(None if value is None else sums / norm)
    return tuple(out)


def warm_up(weight: float) -> int:
    """How many points before the first shown one a smoothed curve still feels."""
    return math.ceil(math.log(FORGOTTEN) / math.log(weight)) if weight > 0 else 0


def thinned(values: Table, cells: int) -> list[int]:
    """Indices of the rows to draw so that they hold at most `cells` numbers: of equal stretches of rows, those in which
    a column is lowest or highest. All rows where they fit."""
    width = len(values.columns) + 1
    if len(values.x) * width <= cells or not values.columns:
        return list(range(len(values.x)))
    stretches = max(1, cells // (width * 2 * len(values.columns)))
    edges = [round(i * len(values.x) / stretches) for i in range(stretches + 1)]
    chosen: set[int] = set()
    for first, end in pairwise(edges):
        for column in values.columns.values():
            known = [i for i in range(first, end) if column[i] is not None]
            if known:
                chosen |= {min(known, key=column.__getitem__), max(known, key=column.__getitem__)}
    return sorted(chosen | {len(values.x) - 1})


def stacked_rows(values: Table, cells: int) -> list[int]:
    """The same for columns that are drawn on top of each other: of each stretch the row with the greatest sum."""
    width = len(values.columns) + 1
    if len(values.x) * width <= cells or not values.columns:
        return list(range(len(values.x)))
    stretches = max(1, cells // width - 1)
    sums = [math.fsum(value or 0.0 for value in row) for row in zip(*values.columns.values(), strict=True)]
    edges = [round(i * len(values.x) / stretches) for i in range(stretches + 1)]
    highest = {max(range(first, end), key=sums.__getitem__) for first, end in pairwise(edges) if end > first}
    return sorted(highest | {len(values.x) - 1})


def wire(values: Table, since: float, weight: float, cells: int, stacked: bool) -> dict:
    """What a page gets of a plot: its rows after `since`, smoothed first and thinned then.

    {"x": [...], "raw": {name: [...]}, "smooth": {name: [...]}}; "smooth" is empty for a weight of 0.
    """
    smooth = {name: smoothed(column, weight) for name, column in values.columns.items()} if weight else {}
    both = Table(values.x, values.columns | {_SMOOTH + name: column for name, column in smooth.items()}).after(since)
    raw = Table(both.x, {name: both.columns[name] for name in values.columns})
    share = len(raw.columns) / max(1, len(both.columns))
    rows = both.rows((stacked_rows if stacked else thinned)(raw, int(cells * share)))
    return {
        "x": list(rows.x),
        "raw": {name: _short(rows.columns[name]) for name in values.columns},
        "smooth": {name: _short(rows.columns[_SMOOTH + name]) for name in smooth},
    }


_SMOOTH = "smooth "


def _short(values: Iterable[Value]) -> list[Value]:
    return [None if value is None else float(f"{value:.{DIGITS}g}") for value in values]


@dataclass(frozen=True)
class Card:
    """A figure with its trend: mean of the newest points, its change against those before them, and a small curve."""

    value: float
    change: float | None
    curve: tuple[float, ...]


CARD_POINTS, CARD_CURVE = 10, 40


def card(points: Sequence[tuple[float, Value]]) -> Card | None:
    """None without a point."""
    known = [value for _, value in points if finite(value) is not None]
    if not known:
        return None
    newest, before = known[-CARD_POINTS:], known[-2 * CARD_POINTS : -CARD_POINTS]
    value = math.fsum(newest) / len(newest)
    change = value - math.fsum(before) / len(before) if before else None
    return Card(value, change, tuple(known[-CARD_CURVE:]))
