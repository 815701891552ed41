"""What is known of the notes that assessors read: the data set's labels, and people's last reviews.

Both stand in the facets, so the matrix is read and filtered without looking at a game.
"""

import json
from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

from launcher.store import Store

ASKED = ("rule", "logit", "explain", "cache")
"""Sources of a verdict that a judge was asked for; the others are the data set's own labels, and gates."""

ASKED_SQL = f"f.source IN ({', '.join(map(repr, ASKED))})"

NONE, UNSURE, NOT_ASKED = "none", "unsure", "not asked"

KNOWN = f"""CASE WHEN f.source IN ('dataset', 'match') THEN coalesce(f.label, '{NONE}')
    WHEN f.review IN ('Safe', 'Harmful') THEN f.review ELSE '{NONE}' END"""
"""SQL: the label that a game's note is known to have. What a judge says is no knowledge."""

JUDGED = f"CASE WHEN {ASKED_SQL} THEN coalesce(f.label, '{NONE}') ELSE '{NOT_ASKED}' END"
"""SQL: what the judge said of the note."""

ANSWERED = f"CASE WHEN t.answer IN ('Safe', 'Harmful') THEN t.answer ELSE '{NONE}' END"
"""SQL: what an assessor answered."""


class Known(NamedTuple):
    """Training games whose note is known to be this, of which the judge said this, and an assessor that.

    "none": not known, no label, no readable answer. A game whose two assessors differ stands in two cells.
    """

    known: str
    judged: str
    answer: str
    games: int


class Believed(NamedTuple):
    """A note's probability of harm by the judge, and what it is known to be."""

    p_harm: float
    harmful: bool


def matrix(store: Store, run: str) -> list[Known]:
    """Every play of a training game, also those that were dropped."""
    rows = store.rows(
        f"""SELECT known, judged, answer, sum(games) FROM (
            SELECT DISTINCT f.id, f.games, {KNOWN} AS known, {JUDGED} AS judged, {ANSWERED} AS answer
            FROM facets f JOIN facet_turns t ON t.facet = f.id
            WHERE f.run = ? AND f.mode = 'train' AND t.role = 'assessor'
        ) GROUP BY known, judged, answer ORDER BY known, judged, answer""",
        run,
    )  # fmt: skip
    return list(map(Known._make, rows))


def of_reviews(store: Store, run: str) -> list[Believed]:
    """The judged notes with a probability that a person has labelled."""
    rows = store.rows(
        f"""SELECT v.p_harm, f.review = 'Harmful' FROM facets f JOIN games g ON g.facet = f.id
            JOIN verdicts v ON v.game = g.id AND NOT v.refused
        WHERE f.run = ? AND f.review IN ('Safe', 'Harmful') AND {ASKED_SQL} AND v.p_harm NOT NULL""",
        run,
    )  # fmt: skip
    return [Believed(p_harm, bool(harmful)) for p_harm, harmful in rows]


def of_probes(store: Store, run: str) -> list[Believed]:
    """The probes of the run for which the judge told a probability."""
    rows = store.rows("SELECT p_harm, expected = 'Harmful' FROM probes WHERE run = ? AND p_harm NOT NULL", run)
    return [Believed(p_harm, bool(harmful)) for p_harm, harmful in rows]


def put_reviews(store: Store, run: str, games: Iterable[str]) -> None:
    """Brings the facets of these games in line with their last reviews. Games that are not in the index are left out."""
    rows = store.rows(
        """SELECT g.id, g.facet, f.plain, f.review,
            (SELECT coalesce(r.label, ?) FROM reviews r WHERE r.run = g.run AND r.game = g.game
            ORDER BY r.time DESC LIMIT 1)
        FROM games g JOIN facets f ON f.id = g.facet
        WHERE g.run = ? AND g.game IN (SELECT value FROM json_each(?))""",
        UNSURE, run, json.dumps(list(games)),
    )  # fmt: skip
    for id, facet, plain, before, review in rows:
        if review != before:
            _move(store, id, facet, plain, review)


def _move(store: Store, game: int, facet: int, plain: int, review: str | None) -> None:
    new = plain if review is None else _reviewed(plain, review)
    for sql, values in (
        ("""INSERT OR IGNORE INTO facets (id, run, mode, category, outcome, dropped, label, source, reason, refused,
            games, review, plain)
            SELECT ?, run, mode, category, outcome, dropped, label, source, reason, refused, 0, ?, plain
            FROM facets WHERE id = ?""", (new, review, facet)),
        ("""INSERT OR IGNORE INTO facet_turns (facet, seat, role, answer, raw_reward)
            SELECT ?, seat, role, answer, raw_reward FROM facet_turns WHERE facet = ?""", (new, facet)),
        ("UPDATE facets SET games = games + 1 WHERE id = ?", (new,)),
        ("UPDATE games SET facet = ? WHERE id = ?", (new, game)),
        ("UPDATE facets SET games = games - 1 WHERE id = ?", (facet,)),
        ("DELETE FROM facet_turns WHERE facet = ? AND (SELECT games FROM facets WHERE id = facet) = 0", (facet,)),
        ("DELETE FROM facets WHERE id = ? AND games = 0", (facet,)),
    ):  # fmt: skip
        store.connection.execute(sql, values)


def _reviewed(plain: int, review: str) -> int:
    """The id of a facet with a review follows from the one without, so that every rebuild gives the same ones."""
    return int.from_bytes(blake2b(f"{plain} {review}".encode(), digest_size=8).digest()) >> 1
