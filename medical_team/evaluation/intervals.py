"""Intervals and tests, in the few lines that they take. Each says where its formula is from."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from medical_team.evaluation import Record

Z = 1.959963984540054
"""Standard normal quantile of 0.975: all intervals are 95 %."""

RESAMPLES = 4000
SEED = 20260101
"""Of the bootstrap: the same predictions give the same interval."""


class Interval(NamedTuple):
    low: float
    high: float


class McNemar(Record):
    """Two models on the same notes."""

    only_first: int
    """Notes that the first model alone got right."""
    only_second: int
    p: float
    """Exact, two-sided."""


def of_share(counts: np.ndarray) -> Interval | None:
    """Interval of a share of notes; None for a share of nothing.

    Wilson's where every case gives one note. Two notes of a case are not independent, so that cases are drawn again then;
    where all draws agree, which a few cases may, it is Wilson's of as many notes as there are cases.

    Args:
        counts: (cases, 2), how many of a case's notes count, and how many it has.
    """
    counts = counts[counts[:, 1] > 0]
    right, of = counts.sum(axis=0)
    if not of or counts[:, 1].max() == 1:
        return wilson(right, of)
    found = bootstrap(counts, lambda sums: sums[:, 0] / sums[:, 1])
    return found or wilson(len(counts) * right / of, len(counts))


def wilson(right: float, of: int) -> Interval | None:
    """Wilson's score interval of a share (Wilson, JASA 22, 1927). None for a share of nothing."""
    if not of:
        return None
    share, z2 = right / of, Z * Z
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = Z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return Interval(max(0.0, middle - half) if right else 0.0, min(1.0, middle + half) if right < of else 1.0)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Exact binomial test on the notes on which two models differ (McNemar, Psychometrika 12, 1947)."""
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    differ = only_first + only_second
    tail = sum(math.comb(differ, k) for k in range(min(only_first, only_second) + 1))
    return McNemar(only_first=only_first, only_second=only_second, p=min(1.0, 2 * tail / 2**differ))


def bootstrap(counts: np.ndarray, measure: Callable[[np.ndarray], np.ndarray]) -> Interval | None:
    """Percentile interval of `measure` when whole cases are drawn again, with replacement (Efron, 1979).

    Args:
        counts: (cases, columns), what each case adds to every count.
        measure: (resamples, columns) of summed counts -> (resamples,), NaN where it has no value.

    Returns None where too few resamples have a value to tell, and where all have the same: that says nothing of doubt.
    """
    cases = len(counts)
    if not cases:
        return None
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(cases, np.full(cases, 1 / cases), size=RESAMPLES)
    values = measure(drawn @ counts)
    known = values[np.isfinite(values)]
    if len(known) < RESAMPLES // 2:
        return None
    low, high = np.quantile(known, (0.025, 0.975))
    return Interval(float(low), float(high)) if low < high else None
