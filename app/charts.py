"""Curves as numbers: smoothing, then thinning to what a screen can show. Pure: rows in, columns out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Value = float | None
"""None where there is nothing to show: a gap in the curve."""
Rows = Sequence[tuple[float, Value]]
"""A curve as the index has it: x and value, in order of x."""

FORGOTTEN = 1e-4
"""Share of a smoothed value that may be missing because the points behind it were not read."""

DIGITS = 8
"""Significant digits of a value on the wire."""

BLOCK = 64
"""Values that are smoothed by one product of matrices."""


@dataclass(frozen=True, eq=False)
class Table:
    """Curves over the same `x`, in order: steps, or Unix seconds. A gap is NaN."""

    x: np.ndarray
    columns: dict[str, np.ndarray]

    def __post_init__(self):
        assert all(len(column) == len(self.x) for column in self.columns.values())

    def rows(self, chosen: np.ndarray | slice | list[int]) -> "Table":
        """The rows with these indices."""
        return Table(self.x[chosen], {name: column[chosen] for name, column in self.columns.items()})

    def after(self, x: float) -> "Table":
        return self.rows(slice(int(np.searchsorted(self.x, x, "right")), None))

    def up_to(self, x: float) -> "Table":
        return self.rows(slice(0, int(np.searchsorted(self.x, x, "right"))))


def table(curves: Mapping[str, Rows]) -> Table:
    """Curves side by side; a curve without a finite value at some x has a gap there."""
    found = {name: np.array(rows, dtype=float).reshape(-1, 2) for name, rows in curves.items()}
    every = [rows[:, 0] for rows in found.values()]
    xs = every[0] if every and all(np.array_equal(x, every[0]) for x in every) else _union(every)
    return Table(xs, {name: _placed(rows, xs) for name, rows in found.items()})


def _union(every: Sequence[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate(every)) if every else np.empty(0)


def _placed(rows: np.ndarray, xs: np.ndarray) -> np.ndarray:
    column = np.full(len(xs), np.nan)
    column[np.searchsorted(xs, rows[:, 0])] = rows[:, 1]
    column[~np.isfinite(column)] = np.nan
    return column


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """Exponential mean in which a value counts `weight` times as much as the next, from 0 (as it is) to below 1.

    Corrected for its start, as TensorBoard does, so that the first value is itself. Gaps stay gaps.
    """
    known = ~np.isnan(values)
    ones = np.ones(int(known.sum()))
    out = np.full(len(values), np.nan)
    out[known] = _decayed(values[known], weight) / _decayed(ones, weight)
    return out


def _decayed(values: np.ndarray, weight: float) -> np.ndarray:
    """At each place the sum of the values up to there, each times `weight` for every place since."""
    blocks = np.zeros(-(-len(values) // BLOCK) * BLOCK)
    blocks[: len(values)] = values
    ages = np.subtract.outer(np.arange(BLOCK), np.arange(BLOCK))
    inside = blocks.reshape(-1, BLOCK) @ np.where(ages >= 0, float(weight) ** np.maximum(ages, 0), 0.0).T
    before = [0.0]
    for last in inside[:-1, -1].tolist():
        before.append(last + before[-1] * weight**BLOCK)
    carried = np.outer(before[: len(inside)], float(weight) ** np.arange(1, BLOCK + 1))
    return (inside + carried).reshape(-1)[: len(values)]


def warm_up(weight: float) -> int:
    """How many points before the first shown one a smoothed curve still feels."""
    return math.ceil(math.log(FORGOTTEN) / math.log(weight)) if weight > 0 else 0


def thinned(values: Table, cells: int) -> np.ndarray:
    """Indices of the rows to draw so that they hold at most `cells` numbers: of equal stretches of rows, those in which
    a column is lowest or highest. All rows where they fit."""
    width = len(values.columns) + 1
    if len(values.x) * width <= cells or not values.columns:
        return np.arange(len(values.x))
    starts = _starts(len(values.x), max(1, cells // (width * 2 * len(values.columns))))
    both = [column for one in values.columns.values() for column in (one, -one)]
    extremes = [_first(np.where(np.isnan(column), np.inf, column), starts) for column in both]
    chosen = np.unique(np.concatenate([*extremes, [len(values.x) - 1]]))
    gaps = np.all([np.isnan(column[chosen]) for column in values.columns.values()], axis=0)
    return chosen[~gaps | (chosen == len(values.x) - 1)]


def stacked_rows(values: Table, cells: int) -> np.ndarray:
    """The same for columns that are drawn on top of each other: of each stretch the row with the greatest sum."""
    width = len(values.columns) + 1
    if len(values.x) * width <= cells or not values.columns:
        return np.arange(len(values.x))
    sums = np.nansum(list(values.columns.values()), axis=0)
    highest = _first(-sums, _starts(len(sums), max(1, cells // width - 1)))
    return np.unique(np.append(highest, len(sums) - 1))


def _starts(length: int, stretches: int) -> np.ndarray:
    """Where equal stretches of so many rows begin."""
    return np.unique(np.linspace(0, length, min(stretches, length), endpoint=False).astype(int))


def _first(column: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Of each stretch the first row with its lowest value."""
    of_row = np.repeat(np.minimum.reduceat(column, starts), np.diff(np.append(starts, len(column))))
    hits = np.flatnonzero(column == of_row)
    return hits[np.unique(np.searchsorted(starts, hits, "right"), return_index=True)[1]]


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
        "x": [int(x) if x.is_integer() else x for x in rows.x.tolist()],
        "raw": {name: _short(rows.columns[name]) for name in values.columns},
        "smooth": {name: _short(rows.columns[_SMOOTH + name]) for name in smooth},
    }


_SMOOTH = "smooth "


def _short(values: np.ndarray) -> list[Value]:
    return [None if value is None else float(f"{value:.{DIGITS}g}") for value in listed(values)]


def listed(values: np.ndarray) -> list[Value]:
    return [None if math.isnan(value) else value for value in values.tolist()]


@dataclass(frozen=True)
class Card:
    """A figure with its trend: mean of the newest points, its change against those before them, and a small curve."""

    value: float
    change: float | None
    curve: tuple[float, ...]


CARD_POINTS, CARD_CURVE = 10, 40


def card(points: Rows) -> Card | None:
    """None without a point."""
    known = [value for _, value in points if value is not None and math.isfinite(value)]
    if not known:
        return None
    newest, before = known[-CARD_POINTS:], known[-2 * CARD_POINTS : -CARD_POINTS]
    value = math.fsum(newest) / len(newest)
    change = value - math.fsum(before) / len(before) if before else None
    return Card(value, change, tuple(known[-CARD_CURVE:]))
