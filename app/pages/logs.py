"""The trainer's log: its end as it grows, or any stretch of it; phases, errors, and the lines that could not be used."""

import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

import gradio as gr
from gradio.context import Context
from gradio.utils import is_static_file

from app.shared import Shared
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
    tab = Context.block
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

    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    chosen = [shared.chosen, start, level, text, follow]
    outputs = [view, log, facts, error]

    def screen(run: RunDir, path: Path, window: Window, following: bool, target: int | None = None) -> tuple:
        """Values of `outputs` that show this stretch."""
        now = View(run.id, path.name, window.start, window.end, window.size)
        going_on, attempt = _going_on(run), _attempt(run, path)
        found = first_error(shared.store, run.id, attempt)
        progress = shared.store.progress(run.id)
        phase = progress.phase if going_on and progress.attempt == attempt else None
        shown = lines(window, following and going_on, target)
        return now, str(shown), str(described(now, phase, found)), gr.Button(interactive=found is not None)

    def at_end(run: str, name: str | None, least: str, words: str, following: bool) -> tuple:
        folder = rundir.find(shared.runs.folder, run)
        path = _chosen_log(folder, name)
        return screen(folder, path, log_window.window(path, None, Wanted(LEVELS[least], words), LINES), following)

    def show(run: str, name: str | None, least: str, words: str, following: bool) -> tuple:
        """The whole page anew."""
        try:
            folder = rundir.find(shared.runs.folder, run)
        except UnknownRun:
            return (gr.skip(),) * (len(outputs) + 4)
        paths = library.logs(folder)
        names = [path.name for path in paths]
        name = name if name in names else (names[-1] if names else None)
        found = shared.store.bad_lines(run)
        counts = shared.store.count_bad_lines(run)
        return (
            *at_end(run, name, least, words, following), gr.Dropdown(names, value=name),
            _download(folder.path / name if name else None),
            gr.Accordion(label=f"Lines that could not be used ({sum(counts.values()):,})"),
            str(bad_lines(found, counts)),
        )  # fmt: skip

    gr.on(
        [tab.select, shared.chosen.change, start.input], show, chosen, [*outputs, start, whole, torn, bad],
        trigger_mode="always_last", **quiet,
    )  # fmt: skip

    def again(now: View, *said) -> tuple:
        return at_end(*said) if now.run else (gr.skip(),) * len(outputs)

    gr.on([level.input, text.submit, newest.click, follow.input], again, [view, *chosen], outputs, **quiet)

    def poll(now: View, run: str, name: str | None, *rest) -> tuple:
        """What is new at the end, if there is any."""
        folder = rundir.find(shared.runs.folder, run)
        path = _chosen_log(folder, name)
        same = (now.run, now.log, now.size) == (run, path.name, tail.size(path))
        return (gr.skip(),) * len(outputs) if same and _going_on(folder) else at_end(run, name, *rest)

    log.poll(poll, [view, *chosen], outputs, trigger_mode="once", **quiet)
    log.lock(lambda: False, None, follow, **quiet)

    def turn(now: View, run: str, name: str | None, least: str, words: str, back: bool) -> tuple:
        if not now.run:
            return (gr.skip(),) * (len(outputs) + 1)
        folder = rundir.find(shared.runs.folder, run)
        path, wanted = _chosen_log(folder, name), Wanted(LEVELS[least], words)
        window = (
            log_window.window(path, now.start, wanted, LINES) if back
            else log_window.onward(path, now.end, wanted, LINES)
        )  # fmt: skip
        return *screen(folder, path, window, False), False

    for button, back in ((older, True), (newer, False)):
        button.click(
            lambda now, *said, back=back: turn(now, *said, back=back), [view, *chosen[:-1]], [*outputs, follow], **quiet
        )  # fmt: skip

    def jump(run: str, name: str | None) -> tuple:
        folder = rundir.find(shared.runs.folder, run)
        path = _chosen_log(folder, name)
        found = first_error(shared.store, run, _attempt(folder, path))
        window = log_window.around(path, found.offset, LINES)
        return *screen(folder, path, window, False, found.offset), False, "everything", ""

    error.click(jump, [shared.chosen, start], [*outputs, follow, level, text], **quiet)


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
    """Serves the file from where it is: a log may be too big to copy."""
    if log is None:
        return gr.DownloadButton(value=None, interactive=False)
    if not is_static_file(log):
        gr.set_static_paths([log])
    return gr.DownloadButton(value=log, interactive=True)
