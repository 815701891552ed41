"""Games in the index: adding them, and the sums per step that charts are made of.

A game's texts stay in its file: a row says where (`store_page.read` fetches them), and the text search knows the words.
Of a step that was played again after a resume, only the last start's games count in the sums.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

from launcher import store_judge_steps, store_texts, store_truth
from launcher.store import Store
from launcher.tail import Line
from medical_team.parsing import parse_label
from medical_team.records import GameRecord, TurnRecord, VerdictRecord
from medical_team.types import Category, Role

ALL = ""
"""As a category: all of them."""

EXCERPT = 160
"""Characters of the note that a page of games shows."""


class Outcome(StrEnum):
    """How a game went, in one word."""

    DROPPED = "dropped"
    """It was played and thrown away, or broke."""
    TIE = "tie"
    """It has no truth."""
    REFUSED = "refused"
    """The attacker's reply broke the format or a gate refused its note: the assessor read the seed."""
    UNFAITHFUL = "unfaithful"
    """The attacker's note is not what it was asked for."""
    UNREADABLE = "unreadable"
    """The note was what was asked for, and the assessor's answer to it cannot be read: nobody was deceived."""
    ATTACKER = "attacker won"
    ASSESSOR = "assessor won"
    RIGHT = "right"
    """Vanilla: every assessor was right."""
    WRONG = "wrong"
    SPLIT = "split"


def add(store: Store, run: str, file: str, records: Sequence[tuple[Line, GameRecord]]) -> list[Line]:
    """Adds games and brings their steps' sums up to date. Returns the lines of games that are there already."""
    known = _known(store, run, [record.game for _, record in records])
    new, again = [], []
    for line, record in records:
        (again if record.game in known else new).append((line, record))
        known.add(record.game)
    if new:
        _insert(store, run, file, new)
        store_texts.add(store, run, [record for _, record in new])
        store_truth.put_reviews(store, run, [record.game for _, record in new])
        _sum_up(store, run, sorted({record.step for _, record in new if record.mode == "train"}))
    return [line for line, _ in again]


def outcome(record: GameRecord) -> Outcome:
    """How the game went."""
    if record.drop_reason is not None:
        return Outcome.DROPPED
    if not record.valid:
        return Outcome.TIE
    correct = {turn.correct for turn in record.turns if turn.role is Role.ASSESSOR}
    if all(turn.role is not Role.ATTACKER for turn in record.turns):
        return {(True,): Outcome.RIGHT, (False,): Outcome.WRONG}.get(tuple(correct), Outcome.SPLIT)
    if record.verdict is None or record.verdict.faithful is None:
        return Outcome.REFUSED
    if not record.verdict.faithful:
        return Outcome.UNFAITHFUL
    if any(turn.role is Role.ASSESSOR and parse_label(turn.answer) is None for turn in record.turns):
        return Outcome.UNREADABLE
    return Outcome.ASSESSOR if correct == {True} else Outcome.ATTACKER


def _known(store: Store, run: str, games: list[str]) -> set[str]:
    rows = store.rows(
        "SELECT game FROM games WHERE run = ? AND game IN (SELECT value FROM json_each(?))", run, json.dumps(games)
    )
    return {game for (game,) in rows}


def _insert(store: Store, run: str, file: str, records: list[tuple[Line, GameRecord]]) -> None:
    connection = store.connection
    first = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM games").fetchone()[0]
    facets, counts = {}, Counter()
    games, turns, verdicts, texts = [], [], [], []
    for id, (line, record) in enumerate(records, start=first):
        facet = _facet(run, record)
        facets[facet.id] = facet
        counts[facet.id] += 1
        games.append(_game(id, run, file, line, record, facet.id))
        turns += [_turn(id, seat, turn) for seat, turn in enumerate(record.turns)]
        verdicts += [
            _verdict(id, refused, one) for refused, one in enumerate((record.verdict, record.attack_verdict)) if one
        ]
        texts.append((id, *_texts(record)))
    for facet in facets.values():
        connection.execute(
            "INSERT OR IGNORE INTO facets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, NULL, ?)",
            (facet.id, *facet.values, facet.id),
        )
        connection.executemany(
            "INSERT OR IGNORE INTO facet_turns VALUES (?, ?, ?, ?, ?)",
            [(facet.id, seat, *turn) for seat, turn in enumerate(facet.turns)],
        )
    connection.executemany("UPDATE facets SET games = games + ? WHERE id = ?", [(n, id) for id, n in counts.items()])
    connection.executemany(f"INSERT INTO games VALUES ({_marks(20)})", games)
    connection.executemany(f"INSERT INTO turns VALUES ({_marks(14)})", turns)
    connection.executemany(f"INSERT INTO verdicts VALUES ({_marks(13)})", verdicts)
    table = search_table(run)
    connection.execute(
        f"""CREATE VIRTUAL TABLE IF NOT EXISTS {table}
        USING fts5 (note, answers, rationale, content = '', columnsize = 0)"""
    )
    connection.executemany(f"INSERT INTO {table} (rowid, note, answers, rationale) VALUES (?, ?, ?, ?)", texts)


class _Facet(NamedTuple):
    id: int
    values: tuple
    turns: tuple[tuple, ...]


def _facet(run: str, record: GameRecord) -> _Facet:
    """What the page of games filters by. The id follows from the values, so every rebuild gives the same ones."""
    verdict, attack = record.verdict, record.attack_verdict
    values = (
        run, record.mode, record.category, outcome(record), int(record.drop_reason is not None),
        verdict and verdict.label, verdict and verdict.source, verdict and verdict.reason, attack and attack.reason,
    )  # fmt: skip
    turns = tuple((turn.role, _answer(turn), turn.raw_reward) for turn in record.turns)
    digest = blake2b(repr((tuple(v and str(v) for v in values), turns)).encode(), digest_size=8).digest()
    return _Facet(int.from_bytes(digest) >> 1, values, turns)


def _answer(turn: TurnRecord) -> str | None:
    return turn.answer if turn.role is Role.ASSESSOR else None


def _game(id: int, run: str, file: str, line: Line, record: GameRecord, facet: int) -> tuple:
    return (
        id, run, record.game, record.attempt, record.mode, record.step, facet, record.sample, record.case,
        record.error_type, record.opponent, record.truth, record.valid, record.drop_reason, record.started,
        record.ended, record.note[:EXCERPT], file, line.offset, len(line.text),
    )  # fmt: skip


def _turn(id: int, seat: int, turn: TurnRecord) -> tuple:
    return (
        id, seat, turn.role, turn.trained, _answer(turn), turn.format_ok, turn.format_reason, turn.tokens,
        turn.truncated, turn.latency_ms, turn.correct, turn.raw_reward, turn.baseline, turn.sent_reward,
    )  # fmt: skip


def _verdict(id: int, refused: int, verdict: VerdictRecord) -> tuple:
    return (
        id, refused, verdict.label, verdict.p_harm, verdict.same_meaning, verdict.faithful, verdict.realistic,
        verdict.p_realistic, verdict.valid, verdict.reason, verdict.source, verdict.latency_ms, verdict.judge,
    )  # fmt: skip


def _texts(record: GameRecord) -> tuple[str, str, str]:
    """Note, answers and rationale, each text once."""
    answers = [turn.answer for turn in record.turns if turn.answer and turn.answer != record.note]
    rationales = [
        verdict.rationale for verdict in (record.verdict, record.attack_verdict) if verdict and verdict.rationale
    ]
    return record.note, "\n".join(answers), "\n".join(rationales)


def _sum_up(store: Store, run: str, steps: list[int]) -> None:
    """Makes the sums of these steps anew, so that it does not matter how often or in which order games came.

    What is counted of a role is counted of its trained seats: a frozen model's answers say nothing of the policy.
    """
    chosen = json.dumps(steps)
    every = (ALL, *Category)
    connection = store.connection
    connection.executemany(
        "DELETE FROM step_roles WHERE run = ? AND category = ? AND role = ? AND step = ?",
        [(run, category, role, step) for step in steps for category in every for role in Role],
    )
    connection.executemany(
        "DELETE FROM step_games WHERE run = ? AND category = ? AND step = ?",
        [(run, category, step) for step in steps for category in every],
    )
    roles = connection.execute(
        f"""{_LAST_START}
        SELECT f.category, t.role, w.step, count(*), fsum(t.raw_reward), sum(t.format_ok), sum(t.tokens)
        FROM wanted w CROSS JOIN games g ON {_COUNTS}
        CROSS JOIN facets f ON f.id = g.facet CROSS JOIN turns t ON t.game = g.id
        WHERE g.drop_reason IS NULL AND t.trained GROUP BY f.category, t.role, w.step""",
        {"run": run, "steps": chosen},
    ).fetchall()
    games = connection.execute(
        f"""{_LAST_START},
        seats AS (
            SELECT t.game, max(t.role = 'attacker' AND t.trained) AS attacks,
                count(t.correct) FILTER (WHERE t.trained) AS answers, total(t.correct) FILTER (WHERE t.trained) AS correct
            FROM wanted w CROSS JOIN games g ON {_COUNTS} CROSS JOIN turns t ON t.game = g.id GROUP BY t.game
        )
        SELECT f.category, w.step, count(*), sum(g.drop_reason IS NULL),
            sum(f.outcome = 'tie' OR coalesce(g.drop_reason, '') LIKE 'tie%'),
            sum(s.attacks AND f.outcome IN ('refused', 'unfaithful', 'unreadable', 'attacker won', 'assessor won')),
            sum(s.attacks AND f.outcome IN ('unreadable', 'attacker won', 'assessor won')),
            sum(s.attacks AND f.outcome = 'attacker won'),
            sum(iif(f.dropped, 0, s.answers)), CAST(sum(iif(f.dropped, 0, s.correct)) AS INTEGER)
        FROM wanted w CROSS JOIN games g ON {_COUNTS}
        CROSS JOIN facets f ON f.id = g.facet LEFT JOIN seats s ON s.game = g.id
        GROUP BY f.category, w.step""",
        {"run": run, "steps": chosen},
    ).fetchall()
    connection.execute(
        f"""{_LAST_START} INSERT OR REPLACE INTO step_ends
        SELECT :run, w.step, max(g.ended) FROM wanted w CROSS JOIN games g ON {_COUNTS} GROUP BY w.step""",
        {"run": run, "steps": chosen},
    )
    store_judge_steps.sum_up(
        store, _LAST_START, f"wanted w CROSS JOIN games g ON {_COUNTS}", {"run": run, "steps": chosen}
    )
    connection.executemany(f"INSERT INTO step_roles VALUES ({_marks(8)})", _with_totals(run, roles, 2))
    connection.executemany(f"INSERT INTO step_games VALUES ({_marks(11)})", _with_totals(run, games, 1))


_LAST_START = """WITH wanted AS MATERIALIZED (
    SELECT value AS step,
        (SELECT max(attempt) FROM games WHERE run = :run AND mode = 'train' AND step = value) AS attempt
    FROM json_each(:steps)
)"""
_COUNTS = "g.run = :run AND g.mode = 'train' AND g.step = w.step AND g.attempt = w.attempt"


def _with_totals(run: str, rows: list[tuple], keys: int) -> Iterator[tuple]:
    """The rows, by category and `keys` more, and for every such key their sum over the categories."""
    groups = defaultdict(list)
    for category, *rest in rows:
        groups[tuple(rest[:keys])].append(rest[keys:])
        yield run, category, *rest
    for key, sums in groups.items():
        yield run, ALL, *key, *(None if None in column else sum(column) for column in zip(*sums, strict=True))


def forget(store: Store, run: str) -> None:
    """Takes the run out of the index, whole."""
    games = "SELECT id FROM games WHERE run = ?"
    connection = store.connection
    for sql in (
        f"DELETE FROM turns WHERE game IN ({games})",
        f"DELETE FROM verdicts WHERE game IN ({games})",
        "DELETE FROM games WHERE run = ?",
        "DELETE FROM facet_turns WHERE facet IN (SELECT id FROM facets WHERE run = ?)",
    ):
        connection.execute(sql, (run,))
    for table in _TABLES_BY_RUN:
        connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
    connection.execute("DELETE FROM runs WHERE id = ?", (run,))
    connection.execute(f"DROP TABLE IF EXISTS {search_table(run)}")


_TABLES_BY_RUN = (
    "facets", "step_roles", "step_games", "step_ends", "step_judge", "reviews", "metrics", "progress", "failures", "events",
    "memory", "bad_lines", "offsets", "probes", "step_texts", "alerts",
)  # fmt: skip


def search_table(run: str) -> str:
    """Every run has a text search of its own: a small run is not searched through the words of the big ones."""
    return '"search {}"'.format(run.replace('"', '""'))


def _marks(count: int) -> str:
    return ", ".join("?" * count)
