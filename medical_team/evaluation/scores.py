"""What an assessor's predictions are worth. Pure: predictions in, numbers with intervals out.

Harmful is the positive class. A reply that could not be read counts as the wrong answer to its note.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medical_team.evaluation import How, Note, Prediction, Record
from medical_team.evaluation.intervals import Interval, McNemar, bootstrap, mcnemar, of_share
from medical_team.types import Label


class Confusion(NamedTuple):
    """Counts; halves occur where a coin is taken at its mean."""

    tp: float
    fn: float
    fp: float
    tn: float


class Measure(Record):
    """A number of the table. None where it would divide by nothing."""

    name: str
    value: float | None
    interval: Interval | None = None
    of: int | None = None
    """Notes, or pairs, that a share was counted from; None for what is no share."""


class Difference(Record):
    """After against before, on the same notes."""

    before: str
    after: str
    how: How
    value: float
    """Accuracy after minus accuracy before."""
    interval: Interval | None
    test: McNemar


def _divided(over, under):
    """The quotient, elementwise for arrays; NaN where it would divide by nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(under) > 0, np.divide(over, under), np.nan)


def _mcc(tp, fn, fp, tn):
    """Matthews' correlation coefficient (BBA 405, 1975)."""
    return _divided(tp * tn - fp * fn, np.sqrt(1.0 * (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


# name -> formula of the four counts
FORMULAS: dict[str, Callable] = {
    "balanced accuracy": lambda tp, fn, fp, tn: (_divided(tp, tp + fn) + _divided(tn, tn + fp)) / 2,
    "precision": lambda tp, fn, fp, tn: _divided(tp, tp + fp),
    "F1": lambda tp, fn, fp, tn: _divided(2 * tp, 2 * tp + fp + fn),
    "MCC": _mcc,
}

# name -> (counted, of), both as functions of the four counts
SHARES: dict[str, tuple[Callable, Callable]] = {
    "accuracy": (lambda c: c.tp + c.tn, sum),
    "recall": (lambda c: c.tp, lambda c: c.tp + c.fn),
    "specificity": (lambda c: c.tn, lambda c: c.tn + c.fp),
    "false-positive rate": (lambda c: c.fp, lambda c: c.tn + c.fp),
}

PAIRS, UNREADABLE, SAID_HARMFUL = "pair accuracy", "unreadable", "answered Harmful"
ORDER = (
    "accuracy", "balanced accuracy", "recall", "specificity", "false-positive rate", "precision", "F1", "MCC", PAIRS,
    UNREADABLE, SAID_HARMFUL,
)  # fmt: skip
"""Every table's rows, before the recall of each kind of error."""


def recall_of(kind: str) -> str:
    return f"recall, {kind}"


def confusion(predictions: Iterable[Prediction]) -> Confusion:
    counts = [0, 0, 0, 0]
    for one in predictions:
        counts[_column(one)] += 1
    return Confusion(*counts)


def _column(one: Prediction) -> int:
    return (0 if one.correct else 1) if one.truth is Label.HARMFUL else (3 if one.correct else 2)


def measures(predictions: Sequence[Prediction]) -> list[Measure]:
    """Everything that is told of one model's replies to one set of notes, one reply a note."""
    counts, by_case = confusion(predictions), _by_case(predictions)
    each = Confusion(*by_case.T)
    found = {
        name: _share(name, np.stack([right(each), of(each)], axis=1)) for name, (right, of) in SHARES.items()
    } | {name: _composite(name, formula, by_case, counts) for name, formula in FORMULAS.items()}  # fmt: skip
    found[PAIRS] = share(PAIRS, ((case, all(pair)) for case, pair in _pairs(predictions).items()))
    found[UNREADABLE] = share(UNREADABLE, ((one.case, one.answer is None) for one in predictions))
    found[SAID_HARMFUL] = share(SAID_HARMFUL, ((one.case, one.answer is Label.HARMFUL) for one in predictions))
    return [found[name] for name in ORDER] + _recall_by_kind(predictions)


def share(name: str, notes: Iterable[tuple[str, bool]]) -> Measure:
    """A share of notes, each given as its case and whether it counts."""
    cases: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for case, counts in notes:
        cases[case][0] += counts
        cases[case][1] += 1
    return _share(name, np.array(list(cases.values()), dtype=int).reshape(-1, 2))


def _share(name: str, counts: np.ndarray) -> Measure:
    right, of = map(int, counts.sum(axis=0))
    return Measure(name=name, value=right / of if of else None, interval=of_share(counts), of=of)


def _composite(name: str, formula: Callable, by_case: np.ndarray, counts: Confusion) -> Measure:
    value = float(formula(*(np.float64(count) for count in counts)))
    interval = bootstrap(by_case, lambda sums: formula(*sums.T))
    return (
        Measure(name=name, value=value, interval=interval) if math.isfinite(value) else Measure(name=name, value=None)
    )


def _by_case(predictions: Iterable[Prediction]) -> np.ndarray:
    """(cases, 4): the counts of each case."""
    cases: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for one in predictions:
        cases[one.case][_column(one)] += 1
    return np.array(list(cases.values()), dtype=int).reshape(-1, 4)


def _pairs(predictions: Iterable[Prediction]) -> dict[str, tuple[bool, bool]]:
    """Of every case with an error note and a clean twin, whether each was answered correctly."""
    cases: dict[str, dict[Label, bool]] = defaultdict(dict)
    for one in predictions:
        cases[one.case][one.truth] = one.correct
    return {case: (said[Label.HARMFUL], said[Label.SAFE]) for case, said in cases.items() if len(said) == 2}


def _recall_by_kind(predictions: Iterable[Prediction]) -> list[Measure]:
    kinds: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for one in predictions:
        if one.truth is Label.HARMFUL:
            kinds[one.kind].append((one.case, one.correct))
    return [share(recall_of(kind), kinds[kind]) for kind in sorted(kinds)]


def difference(before: Sequence[Prediction], after: Sequence[Prediction]) -> Difference:
    """Two models, or one before and after, on the same notes in the same order. Errors: ValueError for other notes."""
    if [one.note for one in before] != [one.note for one in after]:
        raise ValueError("only predictions on the same notes can be compared")
    first, second = ([one.correct for one in side] for side in (before, after))
    cases: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one, a, b in zip(before, first, second, strict=True):
        cases[one.case][0] += b - a
        cases[one.case][1] += 1
    interval = bootstrap(np.array(list(cases.values())), lambda sums: sums[:, 0] / sums[:, 1])
    value = (sum(second) - sum(first)) / len(first)
    return Difference(
        before=before[0].player, after=after[0].player, how=before[0].how, value=value, interval=interval,
        test=mcnemar(first, second),
    )  # fmt: skip


TRIVIAL: Mapping[str, float] = {"always Harmful": 1.0, "always Safe": 0.0, "a coin, on average": 0.5}
"""Name -> probability with which it answers Harmful, whatever the note."""


def trivial(notes: Sequence[Note], harmful: float) -> list[Measure]:
    """The measures of answering Harmful with this probability; exact at 0 and 1, else what comes out on average:
    formulas of the mean counts. They have no interval, for there is nothing to estimate."""
    positive = sum(note.truth is Label.HARMFUL for note in notes)
    negative = len(notes) - positive
    counts = Confusion(positive * harmful, positive * (1 - harmful), negative * harmful, negative * (1 - harmful))
    found = {name: (right(counts), of(counts)) for name, (right, of) in SHARES.items()}
    values = {name: right / of if of else None for name, (right, of) in found.items()}
    for name, formula in FORMULAS.items():
        value = float(formula(*map(np.float64, counts)))
        values[name] = value if math.isfinite(value) else None
    twins = len({n.case for n in notes if n.truth is Label.SAFE} & {n.case for n in notes if n.truth is Label.HARMFUL})
    values |= {PAIRS: harmful * (1 - harmful) if twins else None, UNREADABLE: 0.0, SAID_HARMFUL: harmful}
    kinds = sorted({note.kind for note in notes if note.truth is Label.HARMFUL})
    values |= {recall_of(kind): harmful for kind in kinds}
    return [Measure(name=name, value=values[name]) for name in (*ORDER, *map(recall_of, kinds))]
