"""All runs: found, compared, described, exported, resumed, taken as a beginning for new ones, and deleted."""

import time
from pathlib import Path

import gradio as gr
from gradio.context import Context
from gradio.utils import is_static_file
from pydantic import ValidationError

from app.pages.run_list import compared, described, every, line_of, listed, memory_of, passing
from app.shared import Shared
from launcher import library, preflight, report_html, rundir
from launcher.markup import tag
from launcher.reading import Unreadable, settings
from launcher.rundir import UnknownRun
from launcher.runs import Refused, config_of
from launcher.supervise import Busy

NO_RUNS = "No runs yet. Every run that is started, here or on the command line, is listed on this page."
NONE_PASS = "No run passes this filter."
NO_RUN = "Choose a run to read and write its notes, and to export, resume, clone or delete it."
STATES = ("running", "done", "stopped", "crashed", "created", "unreadable")

PICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-run]');
  if (button) trigger('select', {run: button.dataset.run, mark: button.hasAttribute('aria-pressed')});
});
"""


def split_tags(text: str) -> list[str]:
    return [tag.strip() for tag in text.split(",") if tag.strip()]


def build(shared: Shared) -> None:
    tab = Context.block
    marked, picked = gr.State([]), gr.State("")
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
            save = gr.Button("Save notes", size="sm", min_width=90)
            show = gr.Button("Show on Live", size="sm", min_width=90)
            clone = gr.Button("Clone settings", size="sm", min_width=90)
            resume = gr.Button("Resume", size="sm", min_width=90)
            pack = gr.Button("Export", size="sm", min_width=90)
            drop = gr.Button("Delete", size="sm", variant="stop", min_width=90)
        files = gr.File(label="Exports", file_count="multiple", interactive=False, visible=False)
        with gr.Column(visible=False) as sure:
            question = gr.HTML(elem_classes="so-shown", apply_default_css=False)
            with gr.Row():
                yes = gr.Button("Delete for good", size="sm", variant="stop")
                no = gr.Button("Keep it", size="sm")
    comparison = gr.HTML(elem_classes="so-shown", apply_default_css=False)

    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    queued = quiet | {"queue": True, "concurrency_limit": None}  # gr.Error and gr.Info reach the page through the queue
    filters = [text, tags, state]
    outputs = [runs, comparison, tags, marked, picked]
    details = [panel, about, notes, own, resume, files, sure]

    def screen(words: str, wanted: list[str], now: str, marks: list[str], run: str) -> tuple:
        """Values of `outputs`; runs that are gone are marked no longer."""
        lines = every(shared)
        known = {line.run.id for line in lines}
        marks, run = [one for one in marks if one in known], run if run in known else ""
        found = passing(lines, words, wanted, now)
        shown = (
            listed(shared.store, found, marks, run) if found
            else tag("p", NONE_PASS if lines else NO_RUNS, class_="empty")
        )  # fmt: skip
        chosen = [rundir.find(shared.runs.folder, one) for one in sorted(marks)]
        choices = sorted({one for line in lines for one in line.notes.tags} | set(wanted))
        return str(shown), str(compared(shared.store, chosen)), gr.Dropdown(choices=choices), marks, run

    def detail(id: str) -> tuple:
        """Values of `details` for a run, or for none."""
        nothing = gr.File(None, visible=False), gr.Column(visible=False)
        if not id:
            return gr.Column(visible=False), str(tag("p", NO_RUN, class_="empty")), "", "", gr.skip(), *nothing
        run = rundir.find(shared.runs.folder, id)
        line = line_of(shared, run)
        held = memory_of(shared.store, run, preflight.gpu_total())
        more = line.now is not None and line.now.ended_already and line.now.step < line.now.steps
        return (
            gr.Column(visible=True), str(described(line, run) + held),
            line.notes.notes, ", ".join(line.notes.tags), gr.Button(interactive=more), *nothing,
        )  # fmt: skip

    gr.on(
        [tab.select, text.change, tags.input, state.input], screen, [*filters, marked, picked], outputs,
        trigger_mode="always_last", **quiet,
    )  # fmt: skip

    def pick(words: str, wanted: list[str], now: str, marks: list[str], run: str, event: gr.EventData) -> tuple:
        if event.mark:
            marks = [one for one in marks if one != event.run] + [event.run] * (event.run not in marks)
            return *screen(words, wanted, now, marks, run), *(gr.skip(),) * len(details)
        return *screen(words, wanted, now, marks, event.run), *detail(event.run)

    runs.select(pick, [*filters, marked, picked], [*outputs, *details], **quiet)

    def write(id: str, said: str, labels: str, *rest) -> tuple:
        try:
            library.write_notes(rundir.find(shared.runs.folder, id), said, split_tags(labels))
        except ValidationError as error:
            said = "; ".join(one["msg"] for one in error.errors())
            raise gr.Error(f"Notes not saved: {said}", print_exception=False) from error
        gr.Info("Notes saved.")
        return *screen(*rest, id), *detail(id)

    save.click(write, [picked, notes, own, *filters, marked], [*outputs, *details], **queued)
    show.click(lambda id: (id, gr.Tabs(selected="live")), picked, [shared.chosen, shared.tabs], **queued)

    def copy(id: str) -> tuple:
        run = rundir.find(shared.runs.folder, id)
        _try(lambda: config_of(run))
        return {"run": id, "settings": settings(run), "at": time.time()}, gr.Tabs(selected="run")

    clone.click(copy, picked, [shared.cloned, shared.tabs], **queued)

    def go_on(id: str) -> tuple:
        _try(lambda: shared.runs.resume(id))
        return id, gr.Tabs(selected="live")

    resume.click(go_on, picked, [shared.chosen, shared.tabs], **queued)

    def write_out(id: str) -> gr.File:
        run = rundir.find(shared.runs.folder, id)
        packed = library.archive(shared.store, run)
        page = report_html.write(shared.store, run, packed.with_name(f"{id}.html"))
        return gr.File([_served(packed), _served(page)], visible=True)

    pack.click(write_out, picked, files, concurrency_id="export", concurrency_limit=1, api_visibility="private")

    def ask(id: str) -> tuple:
        size = library.size_mb(rundir.find(shared.runs.folder, id))
        said = (
            f"Delete run {id} for good? Its games, logs, checkpoints and model, {size:,.1f} MB, cannot be brought back."
        )
        return gr.Column(visible=True), str(tag("p", said, role="alert"))

    drop.click(ask, picked, [sure, question], **quiet)
    no.click(lambda: gr.Column(visible=False), None, sure, **quiet)

    def delete(id: str, chosen: str, *rest) -> tuple:
        _try(lambda: library.delete(shared.runs, shared.store, id))
        gr.Info(f"Run {id} is deleted.")
        return "" if chosen == id else gr.skip(), *screen(*rest, ""), *detail("")

    yes.click(delete, [picked, shared.chosen, *filters, marked], [shared.chosen, *outputs, *details], **queued)


def _try(verb) -> None:
    """Shows why a verb was refused."""
    try:
        verb()
    except (Refused, Busy, UnknownRun, Unreadable) as refusal:
        raise gr.Error(str(refusal), print_exception=False) from refusal


def _served(path: Path) -> str:
    """The file, which is served from where it is."""
    if not is_static_file(path):
        gr.set_static_paths([path])
    return str(path)
