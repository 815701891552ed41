"""The page of games: filtered, searched, sorted; and one game whole, from its file."""

import heapq
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Literal, NamedTuple

from launcher.store import Store
from launcher.store_games import Outcome, search_table
from launcher.store_truth import ANSWERED, JUDGED, KNOWN
from medical_team.records import GameRecord
from medical_team.types import Category, Label, Role

FEW = 1000
"""Games that are looked into one by one for a text, at 40 microseconds each."""

PASSED_OVER = 10_000
"""Games that may be read and left out, at a microsecond each."""

COMMON = 20_000
"""Games from which on a word is common."""


class Sort(StrEnum):
    NEWEST = "newest"
    OLDEST = "oldest"
    HIGHEST = "highest reward"
    LOWEST = "lowest reward"


@dataclass(frozen=True)
class GameFilter:
    """What a page of games shows; None does not filter."""

    step: int | None = None
    first_step: int | None = None
    last_step: int | None = None
    mode: Literal["train", "eval"] | None = None
    category: Category | None = None
    role: Role | None = None
    """Games with a turn of this role; the reward range and the order by reward then look at its turns alone."""
    outcome: Outcome | None = None
    label: Label | Literal["none"] | None = None
    """The verdict on the note that the assessor read; "none" for a verdict without a label."""
    source: str | None = None
    reason: str | None = None
    """Of the verdict on either note."""
    answer: Label | Literal["none"] | None = None
    """An assessor answered this; "none": something that is no answer."""
    lowest: float | None = None
    highest: float | None = None
    """Range of a turn's raw reward, both ends included."""
    judged: Label | Literal["none", "not asked"] | None = None
    """What the judge said of the note that the assessor read."""
    known: Label | Literal["none"] | None = None
    """What that note is known to be: by the data set, or by a person's last review."""
    review: Label | Literal["unsure", "none"] | None = None
    """The last review."""
    counted: bool = False
    """Only the games whose rewards are in the charts."""
    text: str = ""
    """Words and "quoted phrases" that all stand in the note, the answers or the judge's rationale."""

    @property
    def limits_steps(self) -> bool:
        return (self.step, self.first_step, self.last_step) != (None, None, None)


class TurnRow(NamedTuple):
    seat: int
    role: str
    answer: str | None
    """The assessor's; None for attackers, whose answer is the note."""
    format_ok: bool
    correct: bool | None
    raw_reward: float


class GameRow(NamedTuple):
    """A game as a line of the page of games."""

    game: str
    attempt: int
    mode: str
    step: int
    category: str
    error_type: str
    outcome: str
    truth: str | None
    label: str | None
    source: str | None
    reason: str | None
    refused: str | None
    """Why a gate refused the attacker's note."""
    drop_reason: str | None
    started: float
    ended: float
    excerpt: str
    """The beginning of the note that the assessor read."""
    turns: tuple[TurnRow, ...]


class GamePage(NamedTuple):
    games: list[GameRow]
    more: bool
    """There are games after these."""
    total: int | None
    """Games that pass the filter; None where that would take a scan: with a step range, `counted` or text."""


class LostGame(LookupError):
    """The game is not where its file had it; the message says where."""


def read(store: Store, run: str, game: str) -> GameRecord:
    """The game as it was recorded. Errors: LostGame."""
    found = store.rows(
        """SELECT r.folder, g.file, g.offset, g.length FROM games g JOIN runs r ON r.id = g.run
        WHERE g.run = ? AND g.game = ?""",
        run, game,
    )  # fmt: skip
    if not found:
        raise LostGame(f"run {run!r} has no game {game!r}")
    folder, file, offset, length = found[0]
    path = Path(folder) / file
    try:
        with path.open("rb") as opened:
            opened.seek(offset)
            record = GameRecord.model_validate_json(opened.read(length))
    except (OSError, ValueError) as error:
        raise LostGame(f"game {game!r} is no longer at byte {offset} of {path}: {error}") from error
    if record.game != game:
        raise LostGame(f"byte {offset} of {path} has game {record.game!r} now, not {game!r}")
    return record


def page(
    store: Store,
    run: str,
    wanted: GameFilter = GameFilter(),
    sort: Sort = Sort.NEWEST,
    limit: int = 50,
    offset: int = 0,
) -> GamePage:
    """Games that pass the filter, from the `offset`-th on. By reward, a game's best turn counts."""
    facets = _matching(store, run, wanted)
    ids = _found(store, run, wanted, sort, facets) if wanted.text.strip() else _walk(store, run, wanted, sort, facets)
    chosen = list(islice(ids, offset, offset + limit + 1))
    scan = wanted.text.strip() or wanted.counted or wanted.limits_steps
    total = None if scan else sum(facet.games for facet in facets)
    return GamePage(_page_rows(store, chosen[:limit]), len(chosen) > limit, total)


class _Match(NamedTuple):
    facet: int
    games: int
    reward: float | None


def _matching(store: Store, run: str, wanted: GameFilter) -> list[_Match]:
    """The facets that pass all of the filter but steps and text."""
    turn, values = ["t.facet = f.id"], {"run": run}
    for test, value in (
        ("t.role = :role", wanted.role), ("t.raw_reward >= :lowest", wanted.lowest),
        ("t.raw_reward <= :highest", wanted.highest), (_ANSWER, wanted.answer),
    ):  # fmt: skip
        if value is not None:
            turn.append(test)
            values[test.split(":")[1].split()[0]] = value
    tests = ["f.run = :run"]
    for test, value in (
        ("f.mode = :mode", "train" if wanted.counted else wanted.mode), ("f.category = :category", wanted.category),
        ("f.outcome = :outcome", wanted.outcome), ("coalesce(f.label, 'none') = :label", wanted.label),
        ("f.source = :source", wanted.source), (":reason IN (f.reason, f.refused)", wanted.reason),
        (f"{JUDGED} = :judged", wanted.judged), (f"{KNOWN} = :known", wanted.known),
        ("coalesce(f.review, 'none') = :review", wanted.review),
        ("f.dropped = :dropped", 0 if wanted.counted else None),
    ):  # fmt: skip
        if value is not None:
            tests.append(test)
            values[test.split(":")[1].split()[0]] = value
    if len(turn) > 1:
        tests.append(f"EXISTS (SELECT 1 FROM facet_turns t WHERE {' AND '.join(turn)})")
    if wanted.counted and wanted.mode == "eval":
        return []
    role = "AND t.role = :role" if wanted.role else ""
    sql = f"""SELECT f.id, f.games, (SELECT max(t.raw_reward) FROM facet_turns t WHERE t.facet = f.id {role})
        FROM facets f WHERE {" AND ".join(tests)}"""
    return [_Match(*row) for row in store.connection.execute(sql, values)]


_ANSWER = f"t.role = 'assessor' AND {ANSWERED} = :answer"


def _walk(store: Store, run: str, wanted: GameFilter, sort: Sort, facets: list[_Match]) -> Iterator[int]:
    """Ids in order, read no further than asked for."""
    if sort in (Sort.NEWEST, Sort.OLDEST):
        return _by_step(store, run, wanted, sort, facets)
    groups = groupby(sorted(facets, key=lambda match: _rank(match, sort)), key=lambda match: _rank(match, sort))
    return chain.from_iterable(_by_step(store, run, wanted, sort, list(group)) for _, group in groups)


def _by_step(store: Store, run: str, wanted: GameFilter, sort: Sort, facets: list[_Match]) -> Iterator[int]:
    """The facets' games by steps: out of all games if few others stand between them, else facet by facet, merged."""
    down = sort is not Sort.OLDEST
    tests, values = _step_tests(wanted)
    order = ", ".join(f"g.{column} {'DESC' if down else 'ASC'}" for column in ("step", "attempt", "id"))
    chosen, counted = {match.facet for match in facets}, _counted(store, run, wanted)
    ((every,),) = store.rows("SELECT total(games) FROM facets WHERE run = ?", run)
    if every - sum(match.games for match in facets) <= PASSED_OVER:
        among, parts = "g.run = :run AND g.mode = :mode", [{"run": run, "mode": mode} for mode in ("train", "eval")]
    else:
        among, parts = "g.facet = :facet", [{"facet": facet} for facet in chosen]
    sql = f"SELECT g.step, g.attempt, g.id, g.facet FROM games g WHERE {among} {tests} ORDER BY {order}"
    games = heapq.merge(*(store.connection.execute(sql, values | part) for part in parts), reverse=down)
    return (id for step, attempt, id, facet in games if facet in chosen and counted(step, attempt))


def _found(store: Store, run: str, wanted: GameFilter, sort: Sort, facets: list[_Match]) -> Iterator[int]:
    """Ids of the games with the text, in order: from the games where these are few or to be sorted, else from the text.

    Read from the text, a later id stands for a later step.
    """
    table, words = search_table(run), quoted(wanted.text)
    if not words or not facets:
        return iter(())

    def holds(id: int) -> bool:
        return bool(store.rows(f"SELECT 1 FROM {table} WHERE {table} MATCH ? AND rowid = ?", words, id))

    few = _few(store, run, wanted, sort, facets)
    if few is not None:
        return filter(holds, few)
    by_reward = sort in (Sort.HIGHEST, Sort.LOWEST)
    if by_reward and _is_common(store, table, words):
        return filter(holds, _walk(store, run, wanted, sort, facets))
    ranks, counted = {match.facet: _rank(match, sort) for match in facets}, _counted(store, run, wanted)
    tests, values = _step_tests(wanted)
    rows = store.connection.execute(
        f"""SELECT g.id, g.facet, g.step, g.attempt FROM {table} s CROSS JOIN games g ON g.id = s.rowid
        WHERE {table} MATCH :words {tests} ORDER BY s.rowid {"ASC" if sort is Sort.OLDEST else "DESC"}""",
        values | {"words": words},
    )
    matches = ((id, facet) for id, facet, step, attempt in rows if facet in ranks and counted(step, attempt))
    if by_reward:
        matches = iter(sorted(matches, key=lambda match: ranks[match[1]]))
    return (id for id, _ in matches)


def _few(store: Store, run: str, wanted: GameFilter, sort: Sort, facets: list[_Match]) -> list[int] | None:
    """Ids of all games that pass the filter but the text; None if they are more than a few."""
    if not wanted.limits_steps and sum(facet.games for facet in facets) > FEW:
        return None
    ids = list(islice(_walk(store, run, wanted, sort, facets), FEW + 1))
    return ids if len(ids) <= FEW else None


def _is_common(store: Store, table: str, words: str) -> bool:
    sql = f"SELECT count(*) FROM (SELECT rowid FROM {table} WHERE {table} MATCH ? LIMIT {COMMON})"
    return store.rows(sql, words) == [(COMMON,)]


def _counted(store: Store, run: str, wanted: GameFilter) -> Callable[[int, int], bool]:
    """Whether a start's games of a step are to be shown: with `counted`, those of the last start that made the step."""
    if not wanted.counted:
        return lambda step, attempt: True

    @cache
    def last(step: int) -> int:
        sql = "SELECT max(attempt) FROM games WHERE run = ? AND mode = 'train' AND step = ?"
        return store.rows(sql, run, step)[0][0]

    return lambda step, attempt: attempt == last(step)


def _rank(match: _Match, sort: Sort) -> tuple:
    """For sorting by reward: games without a turn come last."""
    reward = match.reward or 0.0
    return match.reward is None, -reward if sort is Sort.HIGHEST else reward


def _step_tests(wanted: GameFilter) -> tuple[str, dict[str, int]]:
    tests, values = "", {}
    for test, value in (
        ("g.step = :step", wanted.step), ("g.step >= :first", wanted.first_step), ("g.step <= :last", wanted.last_step),
    ):  # fmt: skip
        if value is not None:
            tests += f" AND {test}"
            values[test.split(":")[1]] = value
    return tests, values


def quoted(text: str) -> str:
    """What a user typed, as an FTS5 query that means just these words and "phrases", all of them; empty without any."""
    parts = (phrase or word for phrase, word in re.findall(r'"([^"]*)"|([^\s"]+)', text.replace("\0", " ")))
    return " ".join(f'"{part}"' for part in parts if any(character.isalnum() for character in part))


def _page_rows(store: Store, ids: list[int]) -> list[GameRow]:
    chosen = json.dumps(ids)
    turns = defaultdict(list)
    for game, seat, role, answer, format_ok, correct, reward in store.rows(
        """SELECT game, seat, role, answer, format_ok, correct, raw_reward FROM turns
        WHERE game IN (SELECT value FROM json_each(?)) ORDER BY game, seat""",
        chosen,
    ):
        correct = None if correct is None else bool(correct)
        turns[game].append(TurnRow(seat, role, answer, bool(format_ok), correct, reward))
    rows = store.rows(
        """SELECT g.id, g.game, g.attempt, g.mode, g.step, f.category, g.error_type, f.outcome, g.truth, f.label,
            f.source, f.reason, f.refused, g.drop_reason, g.started, g.ended, g.excerpt
        FROM json_each(?) c JOIN games g ON g.id = c.value JOIN facets f ON f.id = g.facet ORDER BY c.key""",
        chosen,
    )
    return [GameRow(*rest, tuple(turns[id])) for id, *rest in rows]
