"""The page Live: cards and curves of the run that is shown, drawn by static/live.js, which asks for what is new."""

import time
from pathlib import Path
from typing import Any

import gradio as gr

from app import alerts, live_chart
from app.live_chart import BY_ID, PLOTS, Axis, Clock
from app.shared import Shared
from launcher import rundir
from launcher.rundir import UnknownRun

MOST_SMOOTHING = 0.98
STATIC = Path(__file__).parent.parent / "static"

TEMPLATE = """
<div class="so-live">
  <p class="so-empty" role="status"></p>
  <div class="so-cards"></div>
  <form class="so-controls" aria-label="Curves">
    <label>Smoothing <input type="range" name="smoothing" min="0" max="0.98" step="0.01" value="0.6"></label>
    <output>0.60</output>
    <label>Axis <select name="axis"><option value="step">steps</option>
      <option value="hours">hours of training</option><option value="clock">clock time</option></select></label>
    <label>Step <input type="number" name="step" min="1" step="1"></label>
    <button type="submit" class="so-button">Open its games</button>
  </form>
  <div class="so-plots"></div>
</div>
"""


def build(shared: Shared) -> None:
    clock = Clock()
    alerts.build()

    def refresh(asked: dict[str, Any]) -> dict[str, Any]:
        since = {name: float(x) for name, x in asked["since"].items() if name in BY_ID}
        weight = min(max(float(asked["smoothing"]), 0.0), MOST_SMOOTHING)
        if not exists(shared, asked["run"]):
            return {"last": 0, "plots": {}, "cards": live_chart.cards(shared.store, "", 0)}
        return live_chart.refresh(shared.store, clock, asked["run"], since, weight, Axis(asked["axis"]))

    def table(asked: dict[str, str]) -> str:
        return live_chart.text(shared.store, asked["run"], BY_ID[asked["plot"]])

    def games(event: gr.EventData) -> tuple[dict[str, Any], gr.Tabs]:
        return wanted(int(event.step), BY_ID[event.plot].games), gr.Tabs(selected="games")

    page = gr.HTML(
        "", html_template=TEMPLATE, js_on_load=(STATIC / "live.js").read_text(encoding="utf-8"),
        server_functions=[refresh, table], plots=[live_chart.described(plot) for plot in PLOTS], elem_id="live",
        apply_default_css=False,
    )  # fmt: skip
    shared.chosen.change(
        lambda run: run, shared.chosen, page, queue=False, show_progress="hidden", api_visibility="private"
    )
    page.select(games, None, [shared.wanted, shared.tabs], show_progress="hidden", api_visibility="private")


def exists(shared: Shared, run: str) -> bool:
    """The index knows the run; a run that was only just made may not be in it yet."""
    try:
        rundir.find(shared.runs.folder, run)
    except UnknownRun:
        return False
    return shared.store.run(run) is not None


def wanted(step: int, mode: str) -> dict[str, Any]:
    """The games behind a point: of training those that count, which are the ones that its value is the mean of.

    `at` is no filter: it makes a second click on the same point another wish.
    """
    return {"step": step, "mode": mode, "counted": mode == "train", "at": time.time()}
