"""What the judge and the assessors made of each step's games: sums that are kept, and the rates that follow from them."""

from typing import NamedTuple

from launcher.store import Store
from launcher.store_truth import ASKED_SQL


class JudgePoint(NamedTuple):
    """One step's training games, ties and other dropped ones included; a share is None where it would divide by nothing."""

    step: int
    asked: int
    """Games in which the judge was asked."""
    abstained: float | None
    """Share of those in which it could not decide."""
    unreadable: float | None
    """Share of those in which its answer could not be read."""
    failed: float | None
    """Share of those in which it was too late or broke."""
    missed: float | None
    """Share of Safe among the trained assessors' readable answers on harmful notes."""
    flagged: float | None
    """Share of Harmful among their readable answers on harmless notes."""


_RATES = {
    "asked": "asked", "abstained": "1.0 * abstained / nullif(asked, 0)",
    "unreadable": "1.0 * unreadable / nullif(asked, 0)", "failed": "1.0 * failed / nullif(asked, 0)",
    "missed": "1.0 * missed / nullif(harmful, 0)", "flagged": "1.0 * flagged / nullif(harmless, 0)",
}  # fmt: skip


def rates(store: Store, run: str, since: int = -1) -> list[JudgePoint]:
    """The steps after `since`, in order."""
    return list(map(JudgePoint._make, rows(store, run, tuple(_RATES), since)))


def rows(store: Store, run: str, fields: tuple[str, ...], since: int = -1) -> list[tuple]:
    """These fields of the same, each row after its step."""
    return store.rows(
        f"""SELECT step, {", ".join(map(_RATES.__getitem__, fields))} FROM step_judge
        WHERE run = ? AND step > ? ORDER BY step""",
        run, since,
    )  # fmt: skip


def sum_up(store: Store, first: str, games: str, values: dict[str, str]) -> None:
    """Makes the sums of some steps anew. `games` is SQL that joins these, as w, with their games, as g, after `first`."""
    store.connection.execute(f"{first} {_SUMS.format(games=games)}", values)


_ANSWERS = (
    "(SELECT count(*) FROM turns t WHERE t.game = g.id AND t.trained AND t.role = 'assessor' AND t.answer = '{}')"
)
_SUMS = f"""INSERT OR REPLACE INTO step_judge
    SELECT run, step, total(asked), total(asked AND reason = 'abstain'),
        total(asked AND reason IN ('unreadable', 'label_mass')), total(asked AND reason IN ('timeout', 'failed')),
        total(iif(truth = 'Harmful', safe + harmful, 0)), total(iif(truth = 'Harmful', safe, 0)),
        total(iif(truth = 'Safe', safe + harmful, 0)), total(iif(truth = 'Safe', harmful, 0))
    FROM (
        SELECT g.run, w.step, g.truth, f.reason, {ASKED_SQL} AS asked, {_ANSWERS.format("Safe")} AS safe,
            {_ANSWERS.format("Harmful")} AS harmful
        FROM {{games}} CROSS JOIN facets f ON f.id = g.facet
    ) GROUP BY run, step"""
