"""All runs: found, compared, described, exported, resumed, taken as a beginning for new ones, and deleted."""

import time
from dataclasses import dataclass
from functools import partial

import gradio as gr
from gradio.blocks import Block
from gradio.context import Context
from pydantic import ValidationError

from app import queue_panel
from app.pages.run_list import compared, described, every, line_of, listed, memory_of, passing
from app.shared import QUEUED, QUIET, Shared, served
from launcher import checkpoints, library, preflight, report_html, rundir
from launcher.markup import tag
from launcher.reading import Unreadable, settings
from launcher.rundir import RunDir, UnknownRun
from launcher.runs import Refused, config_of
from launcher.supervise import Busy

NO_RUNS = "No runs yet. Every run that is started, here or on the command line, is listed on this page."
NONE_PASS = "No run passes this filter."
NO_RUN = "Choose a run to read and write its notes, and to export, resume, clone or delete it."
NEWEST = ""
STATES = ("queued", "running", "done", "stopped", "crashed", "created", "unreadable")

PICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-run]');
  if (button) trigger('select', {run: button.dataset.run, mark: button.hasAttribute('aria-pressed')});
});
"""


def split_tags(text: str) -> list[str]:
    return [tag.strip() for tag in text.split(",") if tag.strip()]


VERBS = {
    "save": "Save notes", "show": "Show on Live", "clone": "Clone settings", "resume": "Resume", "pack": "Export",
    "drop": "Delete",
}  # fmt: skip


def build(shared: Shared) -> None:
    tab = Context.block
    queue_panel.build(shared)
    page = _placed(shared)
    _wire_list(page, tab)
    _wire_verbs(page)
    _wire_deletion(page)


@dataclass(frozen=True)
class Page:
    """The page's components."""

    shared: Shared
    marked: gr.State
    """Runs that are compared."""
    picked: gr.State
    """The run whose details are shown, "" for none."""
    filters: tuple[gr.Textbox, gr.Dropdown, gr.Dropdown]
    """Words, tags and state that a listed run must have."""
    runs: gr.HTML
    about: gr.HTML
    panel: gr.Column
    notes: gr.Textbox
    own: gr.Textbox
    """The run's tags."""
    verbs: dict[str, gr.Button]
    """By the names in VERBS."""
    since: gr.Dropdown
    """The step of the checkpoint that a resume goes on from, NEWEST for the newest."""
    files: gr.File
    sure: gr.Column
    question: gr.HTML
    yes: gr.Button
    no: gr.Button
    comparison: gr.HTML

    @property
    def outputs(self) -> list[Block]:
        return [self.runs, self.comparison, self.filters[1], self.marked, self.picked]

    @property
    def details(self) -> list[Block]:
        return [self.panel, self.about, self.notes, self.own, self.verbs["resume"], self.since, self.files,
                self.sure]  # fmt: skip

    def screen(self, words: str, wanted: list[str], now: str, marks: list[str], run: str) -> tuple:
        """Values of `outputs`; runs that are gone are marked no longer."""
        lines = every(self.shared)
        known = {line.run.id for line in lines}
        marks, run = [one for one in marks if one in known], run if run in known else ""
        found = passing(lines, words, wanted, now)
        shown = (
            listed(self.shared.store, found, marks, run) if found
            else tag("p", NONE_PASS if lines else NO_RUNS, class_="empty")
        )  # fmt: skip
        chosen = [self.folder(one) for one in sorted(marks)]
        choices = sorted({one for line in lines for one in line.notes.tags} | set(wanted))
        return str(shown), str(compared(self.shared.store, chosen)), gr.Dropdown(choices=choices), marks, run

    def detail(self, id: str) -> tuple:
        """Values of `details` for a run, or for none."""
        nothing = gr.File(None, visible=False), gr.Column(visible=False)
        if not id:
            text = str(tag("p", NO_RUN, class_="empty"))
            return gr.Column(visible=False), text, "", "", gr.skip(), gr.skip(), *nothing
        run = self.folder(id)
        line = line_of(self.shared, run)
        held = memory_of(self.shared.store, run, preflight.gpu_total())
        ended = line.now is not None and line.now.ended_already
        earlier = [step for step in checkpoints.steps(run) if ended and step < line.now.steps]
        more = ended and (line.now.step < line.now.steps or bool(earlier))
        return (
            gr.Column(visible=True), str(described(line, run) + held), line.notes.notes, ", ".join(line.notes.tags),
            gr.Button(interactive=more), _steps(earlier), *nothing,
        )  # fmt: skip

    def folder(self, id: str) -> RunDir:
        """Errors: gr.Error for a run that was deleted while it was still shown here."""
        try:
            return rundir.find(self.shared.runs.folder, id)
        except UnknownRun as error:
            raise gr.Error(str(error), print_exception=False) from error


def _steps(steps: list[int]) -> gr.Dropdown:
    """Where a resume can go on, newest first."""
    choices = [("newest checkpoint", NEWEST), *((f"step {step}", str(step)) for step in reversed(steps))]
    return gr.Dropdown(choices, value=NEWEST, label="Resume from", visible=bool(steps), min_width=150, filterable=False)


def _placed(shared: Shared) -> Page:
    """The components, in the order in which the page has them."""
    with gr.Row(elem_classes="filters"):
        text = gr.Textbox(
            "", label="Find runs", placeholder="words in id, name, preset or notes", scale=2, min_width=180
        )
        tags = gr.Dropdown([], value=[], multiselect=True, label="With all of these tags", min_width=160)
        state = gr.Dropdown([("any", ""), *((name, name) for name in STATES)], value="", label="State", min_width=110)
    runs = gr.HTML(js_on_load=PICK, elem_classes="so-shown", apply_default_css=False)
    about = gr.HTML(str(tag("p", NO_RUN, class_="empty")), elem_classes="so-shown", apply_default_css=False)
    with gr.Column(visible=False) as panel:
        with gr.Row(elem_classes="filters"):
            notes = gr.Textbox("", label="Notes", lines=3, max_lines=12, scale=3, min_width=220)
            own = gr.Textbox("", label="Tags, with commas between them", min_width=160)
        with gr.Row(elem_classes="pager"):
            verbs = {
                name: gr.Button(said, size="sm", variant="stop" if name == "drop" else "secondary", min_width=90)
                for name, said in VERBS.items()
            }
            since = _steps([])
        files = gr.File(label="Exports", file_count="multiple", interactive=False, visible=False)
        with gr.Column(visible=False) as sure:
            question = gr.HTML(elem_classes="so-shown", apply_default_css=False)
            with gr.Row():
                yes = gr.Button("Delete for good", size="sm", variant="stop")
                no = gr.Button("Keep it", size="sm")
    comparison = gr.HTML(elem_classes="so-shown", apply_default_css=False)
    return Page(
        shared, gr.State([]), gr.State(""), (text, tags, state), runs, about, panel, notes, own, verbs, since, files, sure,
        question, yes, no, comparison,
    )  # fmt: skip


def _wire_list(page: Page, tab: gr.Tab) -> None:
    """What is listed, and what of it is picked."""
    text, tags, state = page.filters
    held = [*page.filters, page.marked, page.picked]
    gr.on(
        [tab.select, text.change, tags.input, state.input], page.screen, held, page.outputs, trigger_mode="always_last",
        **QUIET,
    )  # fmt: skip

    def pick(words: str, wanted: list[str], now: str, marks: list[str], run: str, event: gr.EventData) -> tuple:
        if event.mark:
            marks = [one for one in marks if one != event.run] + [event.run] * (event.run not in marks)
            return *page.screen(words, wanted, now, marks, run), *(gr.skip(),) * len(page.details)
        shown = page.screen(words, wanted, now, marks, event.run)
        return *shown, *page.detail(shown[-1])  # none if the run was deleted while it was still listed here

    page.runs.select(pick, held, [*page.outputs, *page.details], **QUIET)


def _wire_verbs(page: Page) -> None:
    """What the buttons do with the picked run; those that lead to another page name its tab."""
    shared, verbs, picked = page.shared, page.verbs, page.picked
    elsewhere = [shared.chosen, shared.tabs]
    verbs["save"].click(
        partial(write, page), [picked, page.notes, page.own, *page.filters, page.marked],
        [*page.outputs, *page.details], **QUEUED,
    )  # fmt: skip
    verbs["show"].click(lambda id: (id, gr.Tabs(selected="live")), picked, elsewhere, **QUEUED)
    verbs["clone"].click(partial(copy, page), picked, [shared.cloned, shared.tabs], **QUEUED)
    verbs["resume"].click(partial(go_on, page), [picked, page.since], elsewhere, **QUEUED)
    verbs["pack"].click(
        partial(write_out, page), picked, page.files, concurrency_id="export", concurrency_limit=1,
        api_visibility="private",
    )  # fmt: skip


def _wire_deletion(page: Page) -> None:
    chosen = page.shared.chosen
    page.verbs["drop"].click(partial(ask, page), page.picked, [page.sure, page.question], **QUEUED)
    page.no.click(lambda: gr.Column(visible=False), None, page.sure, **QUIET)
    page.yes.click(
        partial(delete, page), [page.picked, chosen, *page.filters, page.marked],
        [chosen, *page.outputs, *page.details], **QUEUED,
    )  # fmt: skip


def write(page: Page, id: str, said: str, labels: str, *rest) -> tuple:
    try:
        library.write_notes(page.folder(id), said, split_tags(labels))
    except ValidationError as error:
        said = "; ".join(one["msg"] for one in error.errors())
        raise gr.Error(f"Notes not saved: {said}", print_exception=False) from error
    gr.Info("Notes saved.")
    return *page.screen(*rest, id), *page.detail(id)


def copy(page: Page, id: str) -> tuple:
    run = page.folder(id)
    _try(lambda: config_of(run))
    return {"run": id, "settings": settings(run), "at": time.time()}, gr.Tabs(selected="run")


def go_on(page: Page, id: str, step: str = NEWEST) -> tuple:
    _try(lambda: page.shared.runs.resume(id, None if step == NEWEST else int(step)))
    return id, gr.Tabs(selected="live")


def write_out(page: Page, id: str) -> gr.File:
    run = page.folder(id)
    packed = library.archive(page.shared.store, run)
    report = report_html.write(page.shared.store, run, packed.with_name(f"{id}.html"))
    return gr.File([served(packed), served(report)], visible=True)


def ask(page: Page, id: str) -> tuple:
    size = library.size_mb(page.folder(id))
    said = f"Delete run {id} for good? Its games, logs, checkpoints and model, {size:,.1f} MB, cannot be brought back."
    return gr.Column(visible=True), str(tag("p", said, role="alert"))


def delete(page: Page, id: str, chosen: str, *rest) -> tuple:
    _try(lambda: library.delete(page.shared.runs, page.shared.store, id))
    gr.Info(f"Run {id} is deleted.")
    return "" if chosen == id else gr.skip(), *page.screen(*rest, ""), *page.detail("")


def _try(verb) -> None:
    """Shows why a verb was refused."""
    try:
        verb()
    except (Refused, Busy, UnknownRun, Unreadable, OSError) as refusal:
        raise gr.Error(str(refusal), print_exception=False) from refusal
