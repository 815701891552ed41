"""The status bar: how the chosen run stands, on every page, with Stop and Resume."""

import json
import time
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.answers import Answers, endpoint
from app.shared import Shared
from launcher import rundir, store_health, watch
from launcher.reading import Unreadable
from launcher.rundir import UnknownRun
from launcher.runs import Refused, Runs
from launcher.store import Store

STATIC = Path(__file__).parent / "static"

MOST_ALERTS = 20
"""Alerts that a page gets: all open ones first."""

FRESH = 0.5
"""Seconds for which all pages of a run share what one of them was told, if nothing happens to it."""

TEMPLATE = """
<section class="so-status" data-state="none" data-step="0" data-run="" aria-label="Status">
  <div class="so-line">
    <h1>Second Opinion</h1>
    <label class="so-run"><span class="so-hidden">Run shown</span><select></select></label>
    <span class="so-state" role="status"></span>
    <span class="so-facts"></span>
    <span class="so-buttons">
      <button type="button" class="so-button so-stop" disabled>Stop</button>
      <button type="button" class="so-button so-resume" hidden>Resume</button>
      <label class="so-theme"><span class="so-hidden">Colours</span><select>
        <option value="system">System</option><option value="light">Light</option><option value="dark">Dark</option>
      </select></label>
    </span>
  </div>
  <progress max="1" value="0" aria-label="Steps made"></progress>
  <p class="so-lost" role="alert" hidden></p>
  <div class="so-alarms" role="alert" hidden><ul aria-label="Alerts"></ul></div>
  <div class="so-ended" hidden><p class="so-reason" dir="auto"></p><pre class="so-tail" tabindex="0"
    aria-label="The end of the log"></pre></div>
  <p class="so-answer" role="alert" hidden></p>
  <dialog class="so-dialog" aria-labelledby="so-stop-title">
    <h2 id="so-stop-title">Stop this run?</h2>
    <p class="so-hint"></p>
    <div class="so-choices">
      <button type="button" class="so-button" data-when="checkpoint">After the next checkpoint</button>
      <button type="button" class="so-button so-danger" data-when="now">Now</button>
      <button type="button" class="so-button" data-when="">Keep running</button>
    </div>
  </dialog>
</section>
"""


def build(shared: Shared) -> gr.HTML:
    """The bar. It sets `chosen` when another run is picked in it, and follows `chosen` when a page sets that."""

    def stop(asked: dict[str, str]) -> dict[str, Any]:
        return tried(lambda: shared.runs.stop(asked["run"], asked["when"]))

    def resume(asked: dict[str, str]) -> dict[str, Any]:
        return tried(lambda: shared.runs.resume(asked["run"]))

    def picked(event: gr.EventData) -> str:
        return event.run

    bar = gr.HTML(
        "", html_template=TEMPLATE, js_on_load=(STATIC / "status.js").read_text(encoding="utf-8"),
        server_functions=[stop, resume], elem_id="status", apply_default_css=False,
    )  # fmt: skip
    # Only an event that goes through the queue tells the page that it changed a gr.State.
    bar.select(picked, None, shared.chosen, show_progress="hidden", api_visibility="private")
    shared.chosen.change(
        lambda run: run, shared.chosen, bar, queue=False, show_progress="hidden", api_visibility="private"
    )
    return bar


class Look(BaseModel):
    """A page asks how its run stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    listed: str
    """Key of the list of runs that the page has."""


def routes(runs: Runs, store: Store) -> list[Route]:
    answers = Answers(lambda asked: unlisted(whole(runs, store, asked.run), asked.listed))

    async def look(asked: Look) -> JSONResponse:
        return await answers(moment(runs, asked.run), asked)

    return [endpoint("status", Look, look)]


def moment(runs: Runs, run: str) -> Hashable:
    """Another value after a while, and as soon as the run's state was written or somebody asked it to stop."""
    now = int(time.monotonic() / FRESH)
    try:
        folder = rundir.find(runs.folder, run)
    except UnknownRun:
        return now
    return now, _written(folder.state), _written(folder.stop)


def _written(path: Path) -> int | None:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return None


def whole(runs: Runs, store: Store, run: str) -> dict[str, Any]:
    """The run's status, None if there is no such run; its alerts; and the list of runs with a key for it."""
    rows = [asdict(row) for row in watch.listed(runs, store)]
    key = blake2b(json.dumps(rows).encode(), digest_size=8).hexdigest()
    alerts = [one._asdict() for one in store_health.alerts(store, run, MOST_ALERTS)]
    return {"status": status(runs, store, run), "alerts": alerts, "key": key, "runs": rows}


def unlisted(told: dict[str, Any], listed: str) -> dict[str, Any]:
    """The same without the list of runs, if that is the one that the page has."""
    return {name: told[name] for name in told if name != "runs"} if told["key"] == listed else told


def status(runs: Runs, store: Store, run: str) -> dict[str, Any] | None:
    try:
        folder = rundir.find(runs.folder, run)
    except UnknownRun:
        return None
    return asdict(watch.snapshot(runs, store, folder))


def tried(verb) -> dict[str, Any]:
    """What became of a button: {"refused": why} or nothing to say."""
    try:
        verb()
    except (Refused, UnknownRun, Unreadable, OSError) as refusal:
        return {"refused": str(refusal)}
    return {}
