"""Sums over the texts of a step's training games, kept so that nobody has to read a game's file again."""

from collections.abc import Iterable

from launcher.health_texts import Texts, measured
from launcher.store import Store
from medical_team.records import GameRecord
from medical_team.types import Role


def add(store: Store, run: str, records: Iterable[GameRecord]) -> None:
    """Adds these games, none of which may be there already, to the sums of their steps."""
    sums: dict[tuple[int, int, Role], Texts] = {}
    for record in records:
        if record.mode == "train":
            for role, texts in measured(record).items():
                key = record.step, record.attempt, role
                sums[key] = sums.get(key, Texts()) + texts
    store.connection.executemany(
        """INSERT INTO step_texts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET turns = turns + excluded.turns, thoughts = thoughts + excluded.thoughts,
            words = words + excluded.words, copied = copied + excluded.copied, garbled = garbled + excluded.garbled""",
        [(run, *key, *texts) for key, texts in sums.items()],
    )


def by_step(store: Store, run: str, first: int, last: int) -> dict[tuple[int, str], Texts]:
    """By step and role, of the last start that played the step."""
    rows = store.rows(
        """SELECT step, role, turns, thoughts, words, copied, garbled FROM step_texts
        WHERE run = ? AND step BETWEEN ? AND ? ORDER BY attempt""",
        run, first, last,
    )  # fmt: skip
    return {(step, role): Texts(*sums) for step, role, *sums in rows}
