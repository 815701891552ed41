"""The games of a run: filtered, searched, sorted and turned page by page; and one of them whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote

import gradio as gr
from gradio.blocks import Block
from gradio.context import Context

from app.pages import one_game
from app.pages.game_list import (
    NO_RUN,
    Listing,
    Opened,
    described,
    game_filter,
    linked,
    listing,
    neighbour,
    rows,
    turned,
)
from app.shared import QUEUED, QUIET, Shared
from launcher import rundir, store_judge, store_page
from launcher.config import RunConfig
from launcher.markup import Markup
from launcher.reading import Unreadable
from launcher.rundir import RunDir
from launcher.runs import config_of
from launcher.store_games import Outcome
from launcher.store_page import GameFilter, LostGame, Sort
from medical_team.types import Category, Label, Role

SOURCES = ("dataset", "match", "rule", "gate", "logit", "explain", "cache")
REASONS = (
    "ok", "gate_length", "gate_overlap", "gate_text", "gate_facts", "label_mass", "abstain", "timeout", "unreadable",
    "failed",
)  # fmt: skip
LABELS = (*Label, "none")

NO_GAME = "Choose a game to read its notes, its turns and the judge's verdict."

PICK = """
element.addEventListener('click', (event) => {
  const row = event.target.closest('[data-game]');
  if (row) trigger('select', {game: row.dataset.game});
});
"""
SAVE = """
element.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-save]');
  if (!button) return;
  const text = await secondOpinion.told(server.record({run: button.dataset.run, game: button.dataset.save}));
  button.parentElement.querySelector('[role=alert]').textContent = text.refused || '';
  if (text.refused) return;
  const file = document.createElement('a');
  file.href = URL.createObjectURL(new Blob([text], {type: 'application/json'}));
  file.download = 'game-' + decodeURIComponent(button.dataset.save).replace(/[^\\w.-]+/g, '_') + '.json';
  file.click();
  URL.revokeObjectURL(file.href);
});
"""


def opened_game(shared: Shared, opened: Opened) -> Markup:
    """The game whole, or why it cannot be shown."""
    if not opened.game:
        return one_game.missing(NO_GAME)
    try:
        record = store_page.read(shared.store, *opened)
        person = store_judge.review_of(shared.store, *opened)
        return one_game.whole(record, _config(rundir.find(shared.runs.folder, opened.run)), person)
    except (LostGame, rundir.UnknownRun) as error:
        return one_game.missing(str(error))


def _config(run: RunDir) -> RunConfig | Unreadable:
    try:
        return config_of(run)
    except Unreadable as error:
        return error


def build(shared: Shared) -> None:
    _wire(_placed(shared), Context.block)


@dataclass(frozen=True)
class Page:
    """The page's components."""

    shared: Shared
    controls: dict[str, gr.components.Component]
    sort: gr.Dropdown
    clear: gr.Button
    list: gr.HTML
    count: gr.HTML
    before: gr.Button
    after: gr.Button
    one: gr.HTML
    back: gr.Button
    forward: gr.Button
    shown: gr.State
    """The Listing on the screen."""
    opened: gr.State
    """The game on the screen, as Opened."""
    applied: gr.State
    """The view that another page asked for last."""

    @property
    def outputs(self) -> list[Block]:
        return [
            self.shown, self.opened, self.list, self.count, self.before, self.after, self.one, self.back, self.forward,
        ]  # fmt: skip

    def screen(self, now: Listing, game: Opened) -> tuple:
        """Values of `outputs` that show these."""
        listed = game.game in now.games
        return (
            now, game, str(rows(now, game.game)), str(described(now)), gr.Button(interactive=now.offset > 0),
            gr.Button(interactive=now.page.more), str(opened_game(self.shared, game)),
            gr.Button(interactive=listed), gr.Button(interactive=listed),
        )  # fmt: skip


def _placed(shared: Shared) -> Page:
    """The components, in the order in which the page has them."""
    controls, sort, clear = _controls()
    with gr.Row(elem_classes="pager"):
        before = gr.Button("Previous page", size="sm", interactive=False)
        count = gr.HTML(elem_classes="so-shown", apply_default_css=False)
        after = gr.Button("Next page", size="sm", interactive=False)
    page = gr.HTML(str(one_game.missing(NO_RUN)), js_on_load=PICK, elem_classes="so-shown", apply_default_css=False)
    with gr.Row(elem_classes="pager"):
        back = gr.Button("Previous game", size="sm", interactive=False)
        forward = gr.Button("Next game", size="sm", interactive=False)

    def record(asked: dict[str, str]) -> str:
        return store_page.read(shared.store, asked["run"], unquote(asked["game"])).model_dump_json(indent=2)

    one = gr.HTML(
        str(one_game.missing(NO_GAME)), js_on_load=SAVE, server_functions=[record], elem_classes="so-shown",
        apply_default_css=False,
    )  # fmt: skip
    states = gr.State(Listing()), gr.State(Opened()), gr.State({})
    return Page(shared, controls, sort, clear, page, count, before, after, one, back, forward, *states)


def _wire(page: Page, tab: gr.Tab) -> None:
    """What happens when. What is told of a request or of an event must be a function: Gradio reads its annotations."""

    def shows(request: gr.Request, *said) -> list:
        return show(page, request, *said)

    def chosen(now: Listing, event: gr.EventData) -> tuple:
        return page.screen(now, Opened(now.run, unquote(event.game)))

    shared, controls = page.shared, list(page.controls.values())
    gr.on(
        [tab.select, shared.chosen.change, shared.wanted.change, page.sort.input, *_changes(page.controls)],
        shows,
        [shared.chosen, shared.wanted, page.applied, page.shown, page.opened, page.sort, *controls],
        [page.applied, *controls, *page.outputs], trigger_mode="always_last", **QUEUED,
    )  # fmt: skip
    page.clear.click(
        partial(cleared, page), [shared.chosen, page.sort, page.opened], [*controls, *page.outputs], **QUIET
    )
    page.list.select(chosen, page.shown, page.outputs, **QUIET)
    here = [page.shown, page.opened]
    for button, by in ((page.before, -1), (page.after, 1)):
        button.click(partial(turn, page, by), here, page.outputs, **QUIET)
    for button, by in ((page.back, -1), (page.forward, 1)):
        button.click(partial(move, page, by), here, page.outputs, **QUEUED)


def show(
    page: Page, request: gr.Request, run: str, wish: dict, done: dict, now: Listing, game: Opened, order: str, *values
) -> list:
    """Lists what the controls say, or what another page asked for."""
    said, changed = dict(zip(page.controls, values, strict=True)), [gr.skip()] * len(values)
    if wish != done:
        said = dict.fromkeys(page.controls) | {name: wish[name] for name in page.controls if name in wish}
        changed = _values(said)
    try:
        wanted = game_filter(said)
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from error
    same = (run, wanted, order) == (now.run, now.wanted, now.sort)
    new = listing(page.shared.store, run, wanted, Sort(order), now.offset if same else 0)
    found = (linked(request) or Opened(run)) if game == Opened() else game if game.run == run else Opened(run)
    shows = dict(zip(map(id, page.outputs), page.screen(new, found), strict=True))
    if found == game:  # another may have been opened since this was asked
        shows |= {id(page.opened): gr.skip(), id(page.one): gr.skip()}
    return [wish, *changed, *shows.values()]


def cleared(page: Page, run: str, order: str, game: Opened) -> list:
    new = listing(page.shared.store, run, GameFilter(), Sort(order))
    return [*_values(dict.fromkeys(page.controls)), *page.screen(new, game)]


def turn(page: Page, by: int, now: Listing, game: Opened) -> tuple:
    return page.screen(turned(page.shared.store, now, by), game)


def move(page: Page, by: int, now: Listing, game: Opened) -> tuple:
    found = neighbour(page.shared.store, now, game.game, by)
    if found is None:
        gr.Info("There is no further game in this list.")
        return page.screen(now, game)
    return page.screen(found[0], Opened(now.run, found[1]))


def _controls() -> tuple[dict[str, gr.components.Component], gr.Dropdown, gr.Button]:
    """The filter's controls by the names that GameFilter gives them, the order, and the button that empties them."""
    with gr.Row(elem_classes="filters"):
        text = gr.Textbox("", label="Search", placeholder='words and "phrases"', scale=3, min_width=200)
        step = _number("Step")
        outcome = _choice("Outcome", Outcome)
        category = _choice("Category", Category)
        role = _choice("Role", Role)
        sort = gr.Dropdown(list(Sort), value=Sort.NEWEST, label="Order", min_width=130)
    with gr.Accordion("More filters", open=False), gr.Row(elem_classes="filters"):
        controls = {
            "first_step": _number("From step"), "last_step": _number("To step"),
            "mode": _choice("Mode", ("train", "eval")), "label": _choice("Verdict", LABELS),
            "source": _choice("Verdict's source", SOURCES, more=True),
            "reason": _choice("Verdict's reason", REASONS, more=True), "answer": _choice("Answer", LABELS),
            "judged": _choice("Judge said", (*LABELS, "not asked")), "known": _choice("Known to be", LABELS),
            "review": _choice("Review", (*Label, "unsure", "none")),
            "lowest": _number("Lowest reward"), "highest": _number("Highest reward"),
            "counted": gr.Checkbox(label="Only games in the charts", min_width=160),
        }  # fmt: skip
        clear = gr.Button("Clear filters", size="sm", min_width=120)
    return {"text": text, "step": step, "outcome": outcome, "category": category, "role": role} | controls, sort, clear


def _choice(label: str, choices: Sequence[str], more: bool = False) -> gr.Dropdown:
    said = [("any", ""), *((str(choice), str(choice)) for choice in choices)]
    return gr.Dropdown(said, value="", label=label, min_width=130, allow_custom_value=more)


def _number(label: str) -> gr.Textbox:
    """A text box, because gr.Number cannot be empty: it says 0 as soon as it is seen."""
    return gr.Textbox("", label=label, max_lines=1, min_width=90)


def _changes(controls: dict[str, gr.components.Component]) -> list:
    """What a user does to a control when the list is to follow."""
    return [
        control.input if isinstance(control, gr.Dropdown | gr.Checkbox) else control.submit
        for control in controls.values()
    ]


def _values(said: dict[str, Any]) -> list:
    """What the controls show; nothing stands for any."""
    return [bool(value) if name == "counted" else "" if value is None else str(value) for name, value in said.items()]
