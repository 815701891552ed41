"""What the pages share: the runs, their index, and the components through which one page opens another."""

from dataclasses import dataclass

import gradio as gr

from launcher.runs import Runs
from launcher.store import Store

TABS = ("run", "live", "games", "judge", "evaluate", "logs", "history")


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
