"""The page Live: cards and curves of the run that is shown, drawn by static/board.js, which asks `app.points` for them."""

import time
from typing import Any

import gradio as gr

from app import alerts, latest
from app.live_chart import BY_ID
from app.points import Board
from app.shared import Shared

PLACE = """
const board = secondOpinion.board(props.board, element, props.value || "", (wish) => trigger("select", wish));
watch("value", () => board.show(props.value || ""));
"""


def build(shared: Shared) -> None:
    alerts.build()

    def games(event: gr.EventData) -> tuple[dict[str, Any], gr.Tabs]:
        return wanted(int(event.step), BY_ID[event.plot].games), gr.Tabs(selected="games")

    page = place(shared, Board.LIVE, "live")
    page.select(games, None, [shared.wanted, shared.tabs], show_progress="hidden", api_visibility="private")
    latest.build(shared)


def place(shared: Shared, board: Board, elem_id: str) -> gr.HTML:
    """Where a board is put; it shows the chosen run. Its event `select` tells the step and the plot that were clicked."""
    found = gr.HTML(
        "", html_template="<div class='so-place'></div>", js_on_load=PLACE, board=board.value, elem_id=elem_id,
        apply_default_css=False,
    )  # fmt: skip
    shared.chosen.change(
        lambda run: run, shared.chosen, found, queue=False, show_progress="hidden", api_visibility="private"
    )
    return found


def wanted(step: int, mode: str) -> dict[str, Any]:
    """The games behind a point: of training those that count, which are the ones that its value is the mean of.

    `at` is no filter: it makes a second click on the same point another wish.
    """
    return {"step": step, "mode": mode, "counted": mode == "train", "at": time.time()}
