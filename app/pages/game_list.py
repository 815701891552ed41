"""A page of the list of games: which games are on it, those beside it, and how it looks."""

from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import gradio as gr

from app.pages import one_game
from app.text import cut, number
from launcher import store_page
from launcher.markup import Markup, tag
from launcher.store import Store
from launcher.store_page import GameFilter, GamePage, GameRow, Sort
from medical_team.types import Role

ROWS = 50
NUMBERS = {"step": int, "first_step": int, "last_step": int, "lowest": float, "highest": float}
KINDS = {int: "whole number", float: "number"}

NO_RUN = "No run yet. Start one on the page Run; its games are listed here as they are played."
NO_GAMES = "No games yet. The first ones come while the first step is played, after the models are loaded."
NONE_PASS = "No game passes this filter."


@dataclass(frozen=True)
class Listing:
    """The page of games on the screen."""

    run: str = ""
    wanted: GameFilter = GameFilter()
    sort: Sort = Sort.NEWEST
    offset: int = 0
    page: GamePage = GamePage([], False, 0)

    @property
    def games(self) -> list[str]:
        return [row.game for row in self.page.games]


class Opened(NamedTuple):
    """The game on the screen, empty where none is chosen; and the run of which it is."""

    run: str = ""
    game: str = ""


def linked(request: gr.Request) -> Opened | None:
    """The game that the page's address names, if it names one."""
    run, game = request.query_params.get("run"), request.query_params.get("game")
    return Opened(run, game) if run and game else None


def listing(store: Store, run: str, wanted: GameFilter, sort: Sort, offset: int = 0) -> Listing:
    return Listing(run, wanted, sort, offset, store_page.page(store, run, wanted, sort, ROWS, offset))


def turned(store: Store, shown: Listing, by: int) -> Listing:
    """The page `by` pages further on."""
    return listing(store, shown.run, shown.wanted, shown.sort, max(0, shown.offset + by * ROWS))


def neighbour(store: Store, shown: Listing, game: str, by: int) -> tuple[Listing, str] | None:
    """The game after (`by` 1) or before (-1) this one in the list, and the page that it is on; None at the ends."""
    if game not in shown.games:
        return None
    place = shown.games.index(game) + by
    if 0 <= place < len(shown.games):
        return shown, shown.games[place]
    if place > 0 and not shown.page.more or place < 0 and shown.offset == 0:
        return None
    other = turned(store, shown, by)
    return (other, other.games[0 if by > 0 else -1]) if other.games else None


def game_filter(values: dict[str, Any]) -> GameFilter:
    """The filter that the controls say; what is left empty does not filter. Errors: ValueError for what is no number."""
    said = {name: value for name, value in values.items() if value not in ("", None)}
    numbers = {name: _number(name, kind, said[name]) for name, kind in NUMBERS.items() if name in said}
    return GameFilter(**said | numbers | {"text": values["text"] or "", "counted": bool(values["counted"])})


def _number(name: str, kind: type, text: str) -> int | float:
    try:
        number = kind(text)
    except ValueError as error:
        raise ValueError(f"{name.replace('_', ' ')}: {text!r} is not a {KINDS[kind]}") from error
    if not abs(number) < 2**63:
        raise ValueError(f"{name.replace('_', ' ')}: {text} is out of range")
    return number


def described(shown: Listing) -> Markup:
    """Which games these are, of how many, and by which filter."""
    first, last = shown.offset + bool(shown.games), shown.offset + len(shown.games)
    total = f" of {shown.page.total:,}" if shown.page.total is not None else ", more follow" if shown.page.more else ""
    default = vars(GameFilter())
    said = [f"{name.replace('_', ' ')} {value}" for name, value in vars(shown.wanted).items() if value != default[name]]
    return tag("p", " · ".join((f"{first:,}–{last:,}{total}", *said)), class_="count", role="status")


def rows(shown: Listing, opened: str) -> Markup:
    """The page as a table; every row opens its game."""
    if not shown.run:
        return one_game.missing(NO_RUN)
    if not shown.games:
        return one_game.missing(NO_GAMES if shown.wanted == GameFilter() else NONE_PASS)
    heads = ("game", "step", "category", "outcome", "truth", "verdict", "answers", "rewards", "note")
    head = tag("tr", *(tag("th", name, scope="col") for name in heads))
    body = (_row(row, row.game == opened) for row in shown.page.games)
    table = tag("table", tag("thead", head), tag("tbody", *body), class_="records")
    return tag("div", table, class_="wide", tabindex=0)


def _row(row: GameRow, opened: bool) -> Markup:
    verdict = "-" if row.source is None else f"{row.label or 'none'} ({row.source}: {row.reason})"
    answers = [cut(turn.answer or "unreadable", 20) for turn in row.turns if turn.role == Role.ASSESSOR]
    rewards = [f"{turn.role} {number(turn.raw_reward, 2)}" for turn in row.turns]
    step = f"{row.step}" if row.mode == "train" else f"{row.step} eval"
    cells = (
        tag("button", cut(row.game, 40), type="button"), step, f"{row.category} · {row.error_type}",
        one_game.chip(row.outcome), row.truth or "none", cut(row.refused or verdict, 60), ", ".join(answers),
        ", ".join(rewards), tag("bdi", cut(row.excerpt, 90)),
    )  # fmt: skip
    said = (tag("td", cell) for cell in cells)
    return tag("tr", *said, data_game=quote(row.game, safe=""), aria_current="true" if opened else None)
