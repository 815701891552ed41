"""The dashboard: the status bar, and one tab a page."""

import time
from contextlib import suppress
from dataclasses import fields
from typing import Any

import gradio as gr
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from app import status
from app.pages import evaluate, games, history, judge, live, logs, run
from app.shared import TABS, Shared
from launcher.reading import Unreadable
from launcher.rundir import UnknownRun, find
from launcher.runs import Runs
from launcher.state import RUNNING, End
from launcher.store import Store
from launcher.store_page import GameFilter

TITLE = "Second Opinion"
GAME_FILTER = TypeAdapter(GameFilter)
BUILDERS = (run.build, live.build, games.build, judge.build, evaluate.build, logs.build, history.build)
PAGES = dict(zip(TABS, BUILDERS, strict=True))

SEEN = "second-opinion-seen"
LOADED = f"""() => {{
  document.cookie = `{SEEN}-${{location.port}}=${{Math.floor(Date.now() / 1000)}}; max-age=31536000; samesite=strict`;
  secondOpinion.loaded();
}}"""


def build(runs: Runs, store: Store) -> gr.Blocks:
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        chosen, wanted, cloned = gr.State(""), gr.State({}), gr.State({})
        tabs = gr.Tabs(selected="run", render=False, elem_id="pages")
        shared = Shared(runs, store, tabs, chosen, wanted, cloned)
        status.build(shared)
        tabs.render()
        with tabs:
            for name, build_page in PAGES.items():
                with gr.Tab(name.capitalize(), id=name):
                    build_page(shared)

        def first(request: gr.Request) -> tuple[str, gr.Tabs, dict[str, Any]]:
            shown, tab = first_screen_of(runs, store, request)
            return shown, gr.Tabs(selected=tab), games_asked(dict(request.query_params))

        opened = page.load(first, None, [chosen, tabs, wanted], show_progress="hidden", api_visibility="private")
        opened.then(None, None, None, js=LOADED, api_visibility="private")
    return page


def first_screen_of(runs: Runs, store: Store, request: Request | gr.Request) -> tuple[str, str]:
    """The same for the browser that asks: its cookie says when it was here last, in seconds."""
    seen = request.cookies.get(f"{SEEN}-{request.url.port or ''}", "")
    return first_screen(runs, store, float(seen) if seen.isdecimal() else 0.0, dict(request.query_params))


def first_screen(runs: Runs, store: Store, seen: float, query: dict[str, str]) -> tuple[str, str]:
    """The run to show and the tab to open: what a link asks for, else a live run, or one that crashed since `seen`."""
    for row in store.runs():
        if row.state == RUNNING:
            with suppress(Unreadable, UnknownRun):
                runs.look(find(runs.folder, row.id))  # it may have ended while nobody watched
    rows = [row for row in store.runs() if known(runs, row.id)]
    running = [row.id for row in rows if row.state == RUNNING]
    crashed = [row.id for row in rows if row.state == End.CRASHED and (row.ended or 0) > seen]
    urgent = running or crashed
    shown = next(iter(urgent or [row.id for row in rows]), "")
    tab = "live" if urgent else "run"
    if known(runs, query.get("run", "")):
        shown, tab = query["run"], "live"
    return shown, query["tab"] if query.get("tab") in TABS else tab


def games_asked(query: dict[str, str]) -> dict[str, Any]:
    """The filter of games that a link asks for, as the page Games takes it; none if it asks for what there is not."""
    said = {field.name: query[field.name] for field in fields(GameFilter) if field.name in query}
    try:
        whole = GAME_FILTER.dump_python(GAME_FILTER.validate_python(said), mode="json")
    except ValidationError:
        return {}
    if any(isinstance(value, int) and abs(value) >= 2**63 for value in whole.values()):
        return {}
    return {name: whole[name] for name in said} | {"at": time.time()} if said else {}


def known(runs: Runs, id: str) -> bool:
    try:
        find(runs.folder, id)
    except UnknownRun:
        return False
    return True
