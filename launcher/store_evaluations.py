"""Evaluations in the index: every number of every table, so that evaluations can be compared."""

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from launcher.store import Store


class EvaluationRow(NamedTuple):
    """One number; of which evaluation, on which notes."""

    evaluation: str
    created: float
    notes: str
    player: str
    role: str
    how: str
    measure: str
    value: float | None
    low: float | None
    high: float | None
    of: int | None


def put(store: Store, id: str, created: float, notes: str, models: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Replaces the evaluation's rows. `rows` are those of `evaluation_result.rows`."""
    store.connection.execute("DELETE FROM evaluation_scores WHERE evaluation = ?", (id,))
    store.connection.execute(
        "INSERT OR REPLACE INTO evaluations VALUES (?, ?, ?, ?)", (id, created, notes, json.dumps(models))
    )
    store.connection.executemany(
        "INSERT INTO evaluation_scores VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [(id, *row) for row in rows]
    )


def known(store: Store) -> set[str]:
    """Ids of the evaluations in the index."""
    return {id for (id,) in store.rows("SELECT id FROM evaluations")}


def of_measure(store: Store, measure: str) -> list[EvaluationRow]:
    """This measure of every player in all evaluations, newest first."""
    rows = store.rows(
        """SELECT e.id, e.created, e.notes, s.player, s.role, s.how, s.measure, s.value, s.low, s.high, s.of
        FROM evaluation_scores s JOIN evaluations e ON e.id = s.evaluation
        WHERE s.measure = ? ORDER BY e.created DESC, e.id, s.rowid""",
        measure,
    )
    return list(map(EvaluationRow._make, rows))
