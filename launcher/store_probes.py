"""Probes in the index: what the judge made of notes whose label is known, and its rates per step."""

from collections.abc import Sequence
from typing import NamedTuple

from launcher.store import Store
from launcher.tail import Line
from medical_team.judge.probing import ProbeRecord

# Of a step that was played again after a resume only the last start's probes count.
_COUNTED = """probes p WHERE p.run = ? AND p.step > ? AND p.attempt =
    (SELECT max(q.attempt) FROM probes q WHERE q.run = p.run AND q.step = p.step)"""


class ProbePoint(NamedTuple):
    """One step's probes; a share is None where it would divide by nothing."""

    step: int
    probes: int
    misses: float | None
    """Share of Safe among the harmful notes that got a label."""
    over_flags: float | None
    """Share of Harmful among the harmless notes that got a label."""
    unlabelled: float | None
    """Share of all probes without a label."""


class ProbeCount(NamedTuple):
    """How many probes of a kind got this label."""

    kind: str
    expected: str
    label: str | None
    count: int


def add(store: Store, run: str, file: str, records: Sequence[tuple[Line, ProbeRecord]]) -> None:
    """Safe to call twice with the same lines."""
    store.connection.executemany(
        "INSERT OR REPLACE INTO probes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (run, file, line.offset, record.attempt, record.step, record.time, record.case, record.kind,
             record.expected, record.verdict.label, record.verdict.reason, record.verdict.source, record.verdict.p_harm,
             record.verdict.latency_ms, record.verdict.judge)
            for line, record in records
        ],
    )  # fmt: skip


def rates(store: Store, run: str, since: int = -1) -> list[ProbePoint]:
    """The steps after `since` in which the judge was probed, in order."""
    rows = store.rows(
        f"""SELECT step, count(*),
            1.0 * sum(expected = 'Harmful' AND label IS 'Safe') / nullif(sum(expected = 'Harmful' AND label NOT NULL), 0),
            1.0 * sum(expected = 'Safe' AND label IS 'Harmful') / nullif(sum(expected = 'Safe' AND label NOT NULL), 0),
            1.0 * sum(label IS NULL) / count(*)
        FROM {_COUNTED} GROUP BY step ORDER BY step""",
        run, since,
    )  # fmt: skip
    return list(map(ProbePoint._make, rows))


def confusion(store: Store, run: str) -> list[ProbeCount]:
    """The whole run's probes by kind and label."""
    rows = store.rows(
        f"SELECT kind, expected, label, count(*) FROM {_COUNTED} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3", run, -1
    )
    return list(map(ProbeCount._make, rows))
