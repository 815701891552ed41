"""What the pages share: the runs, their index, and the components through which one page opens another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import is_static_file

from launcher.runs import Runs
from launcher.store import Store

TABS = ("run", "live", "games", "judge", "evaluate", "logs", "history")

QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Of an event that answers at once, and shows no spinner while it does."""
QUEUED: dict[str, Any] = QUIET | {"queue": True, "concurrency_limit": None}
"""gr.Error and gr.Info reach the page through the queue alone."""


@dataclass(frozen=True)
class Shared:
    """Handed to `build` of every page, inside the page's own tab.

    To open a page from an event: return the run's id for `chosen`, and `gr.Tabs(selected="live")` for `tabs`. For a view
    of the games return a dict for `wanted` too: keyword arguments of `launcher.store_page.GameFilter`, plain values.
    Such an event must go through the queue (`queue=True`): Gradio tells a page of a changed gr.State only then.
    """

    runs: Runs
    store: Store
    tabs: gr.Tabs
    chosen: gr.State
    """Id of the run that every page but Run shows; "" before there is one."""
    wanted: gr.State
    """The view of the games page."""
    cloned: gr.State
    """A run whose settings the form is to take: {"run": its id, "settings": its config as a dict, "at": when}."""


def served(path: Path) -> str:
    """The file, which is served from where it is: it may be too big to copy."""
    if not is_static_file(path):
        gr.set_static_paths([path])
    return str(path)
