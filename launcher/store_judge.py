"""The judge in the index: its verdicts against the assessor's answers, and people's reviews against its verdicts."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from launcher import store_truth
from launcher.reviews import Review
from launcher.store import Store
from launcher.store_truth import ASKED
from medical_team.types import Label

RECENT = 20_000
"""Games, the newest, among which those to review are chosen."""

_ASKED = ", ".join(f"'{source}'" for source in ASKED)


class Cell(NamedTuple):
    """Games with this verdict in which an assessor gave this answer. None: no label, or no readable answer."""

    source: str
    label: str | None
    answer: str | None
    games: int


class Reviewed(NamedTuple):
    """A judged game that a person has labelled too. None: the judge gave no label, or the person was not sure."""

    game: str
    source: str
    judge: str | None
    person: str | None
    p_harm: float | None = None
    reviewer: str = ""
    note: str = ""
    time: float | None = None
    """Of the review, in Unix seconds."""


class Agreement(NamedTuple):
    """Judge and people on the notes that both labelled; a share is None where it would divide by nothing."""

    both: int
    share: float | None
    kappa: float | None
    """Cohen's: the share beyond what two that answer by chance, each at its own rates, would agree on."""
    misses: float | None
    """Share of the judge's Safe among people's Harmful."""
    over_flags: float | None
    """Share of the judge's Harmful among people's Safe."""


def add_reviews(store: Store, run: str, reviews: Iterable[Review]) -> None:
    reviews = list(reviews)
    store.connection.executemany(
        "INSERT OR REPLACE INTO reviews (run, game, reviewer, label, note, time) VALUES (?, ?, ?, ?, ?, ?)",
        [(run, one.game, one.reviewer, one.label, one.note, one.time) for one in reviews],
    )
    store_truth.put_reviews(store, run, {one.game for one in reviews})


def cells(store: Store, run: str) -> list[Cell]:
    """Training games, every play of them, by source of the verdict on the note that the assessor read."""
    rows = store.rows(
        """SELECT source, label, said, sum(games) FROM (
            SELECT DISTINCT f.id, f.games, f.source, f.label, iif(t.answer IN ('Safe', 'Harmful'), t.answer, NULL) said
            FROM facets f JOIN facet_turns t ON t.facet = f.id AND t.role = 'assessor'
            WHERE f.run = ? AND f.mode = 'train' AND f.source NOT NULL
        ) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3""",
        run,
    )  # fmt: skip
    return list(map(Cell._make, rows))


def queue(store: Store, run: str, most: int = 200) -> list[str]:
    """Games to review, those that nobody has reviewed first, evenly from every pair of verdict and answer."""
    rows = store.rows(
        f"""WITH judged AS (
            SELECT g.id, g.game, v.label, min(t.answer) said,
                EXISTS (SELECT 1 FROM reviews r WHERE r.run = g.run AND r.game = g.game) done
            FROM (SELECT * FROM games WHERE run = ? AND mode = 'train' ORDER BY id DESC LIMIT {RECENT}) g
                JOIN verdicts v ON v.game = g.id AND NOT v.refused AND v.source IN ({_ASKED})
                JOIN turns t ON t.game = g.id AND t.role = 'assessor'
            GROUP BY g.id)
        SELECT game FROM judged
        ORDER BY done, row_number() OVER (PARTITION BY done, label, said ORDER BY id * 2654435761 % 4294967296), game
        LIMIT ?""",
        run, most,
    )  # fmt: skip
    return [game for (game,) in rows]


def reviewed(store: Store, run: str) -> list[Reviewed]:
    """The last review of each judged game, oldest first."""
    rows = store.rows(
        f"""SELECT r.game, v.source, v.label, r.label, v.p_harm, r.reviewer, r.note, r.time FROM reviews r
            JOIN games g ON g.run = r.run AND g.game = r.game
            JOIN verdicts v ON v.game = g.id AND NOT v.refused AND v.source IN ({_ASKED})
        WHERE r.run = ? AND r.time = (SELECT max(o.time) FROM reviews o WHERE o.run = r.run AND o.game = r.game)
        GROUP BY r.game ORDER BY r.time, r.game""",
        run,
    )
    return list(map(Reviewed._make, rows))


def review_of(store: Store, run: str, game: str) -> tuple[str | None] | None:
    """The label of the game's last review, in a tuple; None without a review."""
    rows = store.rows("SELECT label FROM reviews WHERE run = ? AND game = ? ORDER BY time DESC LIMIT 1", run, game)
    return (rows[0][0],) if rows else None


def agreement(reviews: Sequence[Reviewed]) -> Agreement:
    pairs = [(one.judge, one.person) for one in reviews if one.judge and one.person]
    both = len(pairs)
    if not both:
        return Agreement(0, None, None, None, None)
    share = sum(judge == person for judge, person in pairs) / both
    chance = sum(
        sum(judge == label for judge, _ in pairs) * sum(person == label for _, person in pairs) for label in Label
    ) / (both * both)
    return Agreement(
        both, share, (share - chance) / (1 - chance) if chance < 1 else None,
        _rate(pairs, Label.HARMFUL, Label.SAFE), _rate(pairs, Label.SAFE, Label.HARMFUL),
    )  # fmt: skip


def _rate(pairs: list[tuple[str, str]], person: Label, judge: Label) -> float | None:
    said = [found for found, true in pairs if true == person]
    return sum(found == judge for found in said) / len(said) if said else None


def judge_of(store: Store, run: str) -> str | None:
    """Name and version of the judge that gave the run's newest verdict. None if none was asked yet."""
    rows = store.rows(
        f"""SELECT v.judge FROM verdicts v WHERE v.game IN
            (SELECT id FROM games WHERE run = ? ORDER BY id DESC LIMIT {RECENT}) AND v.source IN ({_ASKED})
        ORDER BY v.game DESC LIMIT 1""",
        run,
    )
    return rows[0][0] if rows else None
