"""The trainer's log: its end as it grows, or any stretch of it; phases, errors, and the lines that could not be used."""

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import gradio as gr
from gradio.blocks import Block
from gradio.context import Context

from app.shared import QUIET, Shared, served
from app.text import cut
from launcher import library, log_window, rundir, state, tail
from launcher.log_window import Level, LogLine, Wanted, Window
from launcher.markup import Markup, join, table, tag
from launcher.reading import Unreadable
from launcher.rundir import RunDir, UnknownRun
from launcher.store import BadLine, Failure, Store

LINES = 400
LEVELS = {"everything": Level.OTHER, "info": Level.INFO, "warnings": Level.WARNING, "errors": Level.ERROR}
"""The least level that each choice shows."""

NO_RUN = "No run yet. Start one on the page Run; what its trainer prints is shown here."
NO_LOG = "Nothing printed yet. The log begins when the trainer starts."
NONE_PASS = "No line of this stretch passes the filter."

FOLLOW = """
const pane = () => element.querySelector('.log');
const below = (log) => log.scrollHeight - log.scrollTop - log.clientHeight;
let top = 0;
const settle = () => {
  const log = pane();
  if (!log) return;
  const target = log.querySelector('[aria-current]');
  if (target) log.scrollTop = target.offsetTop - log.offsetTop - 60;
  else if (log.dataset.end === 'true') log.scrollTop = log.scrollHeight;
  top = log.scrollTop;
};
watch('value', settle);
let height = 0;
new ResizeObserver(() => {
  if (!height && element.clientHeight) settle();
  height = element.clientHeight;
}).observe(element);
element.addEventListener('scroll', () => {
  const log = pane();
  if (log.dataset.follow === 'true' && log.scrollTop < top && below(log) > 24) {
    log.dataset.follow = 'false';
    trigger('lock');
  }
  top = log.scrollTop;
}, true);
const timer = setInterval(() => {
  if (!element.isConnected) clearInterval(timer);
  const log = pane();
  if (log && log.dataset.follow === 'true' && !document.hidden && element.checkVisibility()) trigger('poll');
}, 1000);
"""


class View(NamedTuple):
    """The stretch on the screen: which log of which run, from byte to byte, and how big the log was."""

    run: str = ""
    log: str = ""
    start: int = 0
    end: int = 0
    size: int = 0


def lines(window: Window, follow: bool, target: int | None = None) -> Markup:
    """The stretch as a list; the line at byte `target` is marked. With `follow` the page keeps to the log's end.

    Two lists are never equal, so that the page sets its own marks back whenever it gets one.
    """
    if not window.size:
        return tag("p", NO_LOG, class_="empty")
    shown = join(*(_line(line, line.offset == target) for line in window.lines))
    if not window.lines:
        shown = tag("li", NONE_PASS, class_="empty")
    return tag(
        "div", tag("ol", shown), class_="log", tabindex=0, role="log", aria_label="Log", aria_live="off",
        data_follow="true" if follow else "false", data_end="true" if window.end == window.size else "false",
        data_made=time.monotonic(),
    )  # fmt: skip


def _line(line: LogLine, target: bool) -> Markup:
    phase = tag("li", line.phase, class_="phase") if line.phase else None
    level = line.level.name.lower()
    word = tag("span", level, class_="level") if line.level > Level.INFO else None
    return join(phase, tag("li", word, line.text, data_level=level, aria_current="true" if target else None))


def bad_lines(found: list[BadLine], counts: dict[str, int]) -> Markup:
    if not found:
        return tag("p", "Every line of the run's files could be used.", class_="empty")
    said = ", ".join(f"{file}: {count:,}" for file, count in counts.items())
    cells = [[line.file, f"{line.offset:,}", line.reason, tag("bdi", cut(line.excerpt, 160))] for line in found]
    return join(tag("p", said, class_="more"), table(("file", "at byte", "reason", "line begins"), cells))


def first_error(store: Store, run: str, attempt: int) -> Failure | None:
    """Why this start failed: the first error of the trainer's main process, else the first of any."""
    found = [failure for failure in store.failures(run) if failure.attempt == attempt]
    return min(found, key=lambda failure: (failure.process != "", failure.offset), default=None)


def described(view: View, phase: str | None, error: Failure | None) -> Markup:
    said = f"bytes {view.start:,} to {view.end:,} of {view.size:,}"
    now = f"now {phase} · " if phase else ""
    first = tag("span", " · first error: ", tag("bdi", cut(error.summary, 200))) if error else None
    return tag("p", now + said, first, class_="count")


def build(shared: Shared) -> None:
    _wire(_placed(shared), Context.block)


@dataclass(frozen=True)
class Page:
    """The page's components, and what they show."""

    shared: Shared
    start: gr.Dropdown
    level: gr.Dropdown
    text: gr.Textbox
    follow: gr.Checkbox
    older: gr.Button
    newer: gr.Button
    newest: gr.Button
    error: gr.Button
    whole: gr.DownloadButton
    facts: gr.HTML
    log: gr.HTML
    torn: gr.Accordion
    bad: gr.HTML
    view: gr.State

    @property
    def chosen(self) -> list[Block]:
        return [self.shared.chosen, self.start, self.level, self.text, self.follow]

    @property
    def outputs(self) -> list[Block]:
        return [self.view, self.log, self.facts, self.error]

    def screen(self, run: RunDir, path: Path, window: Window, following: bool, target: int | None = None) -> tuple:
        """Values of `outputs` that show this stretch."""
        store = self.shared.store
        now = View(run.id, path.name, window.start, window.end, window.size)
        going_on, attempt = _going_on(run), _attempt(run, path)
        found = first_error(store, run.id, attempt)
        progress = store.progress(run.id)
        phase = progress.phase if going_on and progress.attempt == attempt else None
        shown = lines(window, following and going_on, target)
        return now, str(shown), str(described(now, phase, found)), gr.Button(interactive=found is not None)

    def folder(self, id: str) -> RunDir | None:
        """None for a run that was deleted while it was still shown here."""
        with suppress(UnknownRun):
            return rundir.find(self.shared.runs.folder, id)
        return None

    def at_end(self, run: str, name: str | None, least: str, words: str, following: bool) -> tuple:
        folder = self.folder(run)
        if folder is None:
            return (gr.skip(),) * len(self.outputs)
        path = _chosen_log(folder, name)
        return self.screen(folder, path, log_window.window(path, None, Wanted(LEVELS[least], words), LINES), following)


def _placed(shared: Shared) -> Page:
    """The components, in the order in which the page has them."""
    view = gr.State(View())
    with gr.Row(elem_classes="filters"):
        start = gr.Dropdown([], label="Start of the run", min_width=140)
        level = gr.Dropdown(list(LEVELS), value="everything", label="Level", min_width=120)
        text = gr.Textbox("", label="Find in the log", placeholder="part of a line", min_width=180, scale=2)
        follow = gr.Checkbox(True, label="Follow the end", min_width=130)
    with gr.Row(elem_classes="pager"):
        older = gr.Button("Older", size="sm", min_width=80)
        newer = gr.Button("Newer", size="sm", min_width=80)
        newest = gr.Button("Newest", size="sm", min_width=80)
        error = gr.Button("First error", size="sm", min_width=100, interactive=False)
        whole = gr.DownloadButton("Download the log", size="sm", min_width=130, interactive=False)
    facts = gr.HTML(elem_classes="so-shown", apply_default_css=False)
    log = gr.HTML(
        str(tag("p", NO_RUN, class_="empty")), js_on_load=FOLLOW, elem_classes="so-shown", apply_default_css=False
    )
    with gr.Accordion("Lines that could not be used", open=False) as torn:
        bad = gr.HTML(elem_classes="so-shown", apply_default_css=False)
    filters, pager = (start, level, text, follow), (older, newer, newest, error, whole)
    return Page(shared, *filters, *pager, facts, log, torn, bad, view)


def _wire(page: Page, tab: gr.Tab) -> None:
    """What happens when."""
    held, outputs = [page.view, *page.chosen], page.outputs
    gr.on(
        [tab.select, page.shared.chosen.change, page.start.input], partial(show, page), page.chosen,
        [*outputs, page.start, page.whole, page.torn, page.bad], trigger_mode="always_last", **QUIET,
    )  # fmt: skip
    again_on = [page.level.input, page.text.submit, page.newest.click, page.follow.input]
    gr.on(again_on, partial(again, page), held, outputs, **QUIET)
    page.log.poll(partial(poll, page), held, outputs, trigger_mode="once", **QUIET)
    page.log.lock(lambda: False, None, page.follow, **QUIET)
    for button, back in ((page.older, True), (page.newer, False)):
        button.click(partial(turn, page, back), held[:-1], [*outputs, page.follow], **QUIET)
    page.error.click(
        partial(jump, page), [page.shared.chosen, page.start], [*outputs, page.follow, page.level, page.text], **QUIET
    )


def show(page: Page, run: str, name: str | None, least: str, words: str, following: bool) -> tuple:
    """The whole page anew."""
    store, folder = page.shared.store, page.folder(run)
    if folder is None:
        return (gr.skip(),) * (len(page.outputs) + 4)
    names = [path.name for path in library.logs(folder)]
    name = name if name in names else (names[-1] if names else None)
    found, counts = store.bad_lines(run), store.count_bad_lines(run)
    return (
        *page.at_end(run, name, least, words, following), gr.Dropdown(names, value=name),
        _download(folder.path / name if name else None),
        gr.Accordion(label=f"Lines that could not be used ({sum(counts.values()):,})"),
        str(bad_lines(found, counts)),
    )  # fmt: skip


def again(page: Page, now: View, *said) -> tuple:
    return page.at_end(*said) if now.run else (gr.skip(),) * len(page.outputs)


def poll(page: Page, now: View, run: str, name: str | None, *rest) -> tuple:
    """What is new at the end, if there is any."""
    folder = page.folder(run)
    if folder is None:
        return (gr.skip(),) * len(page.outputs)
    path = _chosen_log(folder, name)
    same = (now.run, now.log, now.size) == (run, path.name, tail.size(path))
    return (gr.skip(),) * len(page.outputs) if same and _going_on(folder) else page.at_end(run, name, *rest)


def turn(page: Page, back: bool, now: View, run: str, name: str | None, least: str, words: str) -> tuple:
    """The stretch before or after the one on the screen."""
    folder = page.folder(run)
    if folder is None or not now.run:
        return (gr.skip(),) * (len(page.outputs) + 1)
    path, wanted = _chosen_log(folder, name), Wanted(LEVELS[least], words)
    window = (
        log_window.window(path, now.start, wanted, LINES) if back
        else log_window.onward(path, now.end, wanted, LINES)
    )  # fmt: skip
    return *page.screen(folder, path, window, False), False


def jump(page: Page, run: str, name: str | None) -> tuple:
    """To the first error, whatever the filter was. It may be gone: a run that goes on has a log of its own again."""
    folder = page.folder(run)
    path = folder and _chosen_log(folder, name)
    found = folder and first_error(page.shared.store, run, _attempt(folder, path))
    if found is None:
        return (gr.skip(),) * (len(page.outputs) + 3)
    window = log_window.around(path, found.offset, LINES)
    return *page.screen(folder, path, window, False, found.offset), False, "everything", ""


def _chosen_log(run: RunDir, name: str | None) -> Path:
    """The log of this name, the newest if there is none; it may not have been begun yet."""
    paths = library.logs(run) or [run.log(1)]
    return next((path for path in paths if path.name == name), paths[-1])


def _attempt(run: RunDir, log: Path) -> int:
    """Which start of the run has this log."""
    return next(number for number in count(1) if run.log(number) == log)


def _going_on(run: RunDir) -> bool:
    with suppress(Unreadable):
        now = state.read(run)
        return now is not None and not now.ended_already
    return False


def _download(log: Path | None) -> gr.DownloadButton:
    if log is None:
        return gr.DownloadButton(value=None, interactive=False)
    return gr.DownloadButton(value=served(log), interactive=True)
