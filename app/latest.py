"""The newest games of the run that is shown, on the page Live: a way into them, refreshed when its curves are."""

from pathlib import Path

import gradio as gr
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.answers import Answers, endpoint
from app.pages import one_game
from app.shared import Shared
from app.text import cut
from launcher import store_page
from launcher.markup import Markup, tag
from launcher.store import Store
from launcher.store_page import GameRow

STATIC = Path(__file__).parent / "static"
GAMES = 5

TEMPLATE = """
<section class="so-latest" aria-labelledby="so-latest-title" hidden>
  <h2 id="so-latest-title">Latest games</h2>
  <ul></ul>
</section>
"""


def build(shared: Shared) -> gr.HTML:
    found = gr.HTML(
        "", html_template=TEMPLATE, js_on_load=(STATIC / "latest.js").read_text(encoding="utf-8"), elem_id="latest",
        apply_default_css=False,
    )  # fmt: skip
    shared.chosen.change(
        lambda run: run, shared.chosen, found, queue=False, show_progress="hidden", api_visibility="private"
    )
    return found


class Latest(BaseModel):
    """A page asks for a run's newest games."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str


def routes(store: Store) -> list[Route]:
    answers = Answers(lambda asked: {"html": "".join(map(str, lines(store, asked.run)))})

    async def latest(asked: Latest) -> JSONResponse:
        return await answers(store.revision(), asked)

    return [endpoint("latest", Latest, latest)]


def lines(store: Store, run: str) -> list[Markup]:
    """A line a game, newest first."""
    return [_line(run, row) for row in store_page.page(store, run, limit=GAMES).games]


def _line(run: str, row: GameRow) -> Markup:
    where = f"step {row.step}" if row.mode == "train" else f"evaluation after step {row.step}"
    name = tag("a", tag("bdi", cut(row.game, 40)), href=one_game.link(run, row.game))
    return tag("li", name, f" · {where} · {row.category} · {row.outcome} · ", tag("bdi", cut(row.excerpt, 90)))
