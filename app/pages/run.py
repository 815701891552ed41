"""The Run page: a preset, the settings, what stands in their way, the command that they make, and Start."""

import json
import shlex
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.context import Context

from app import form
from app.pages import run_memory
from app.shared import QUIET, Shared
from launcher import command, engine, judge_check, legacy, preflight, settings
from launcher.config import RunConfig, presets
from launcher.markup import Markup, join, table, tag
from launcher.preflight import Problem
from launcher.prepare import NoCases
from launcher.reading import Unreadable
from launcher.rundir import RunDir
from launcher.runs import Refused, settled
from launcher.shell_script import MOST_CHARACTERS
from medical_team.judge.model_files import JudgeError
from medical_team.medec import DataError

FIRST = "cpu-demo"
"""The preset of a newcomer's form."""
OPEN = ("run", "train")
"""Sections that are unfolded at first."""
RUN = "RUN"
"""Stands for a run's id in the command of one that is not made yet."""
UNFIT = "The settings do not fit together yet: see the problems."
Updates = dict[Block, Any]


class Vouched(NamedTuple):
    """Said beside Start although nothing is wrong."""

    text: str


Ahead = list[Problem | Vouched] | None
"""What a preflight found; None before there was one of these settings."""
STATIC = Path(__file__).parent.parent / "static"


@dataclass
class Page:
    """The page's components, filled in as they are made."""

    shared: Shared
    preset: gr.Dropdown
    draft: gr.BrowserState
    ahead: gr.State
    """An Ahead."""
    filled: gr.State
    """The preset that the fields were filled from: a list of choices says it was chosen from whenever it is left."""
    marks: gr.HTML
    """What is said at each field."""
    memory: run_memory.Panel | None = None
    fields: dict[str, Component] = field(default_factory=dict)
    folds: dict[str, gr.Accordion] = field(default_factory=dict)
    resets: dict[str, gr.Button] = field(default_factory=dict)
    problems: gr.HTML | None = None
    shown: dict[str, gr.Textbox] = field(default_factory=dict)
    starting: threading.Lock = field(default_factory=threading.Lock)
    """Held from the last look at what else runs until the run is started, whoever asks."""

    @property
    def inputs(self) -> list[Block]:
        return [self.preset, self.ahead, *(self.fields[key] for key in form.KEYS), self.memory.size]

    @property
    def looks(self) -> list[Block]:
        """What follows from the settings. No field is among them."""
        return [self.marks, self.draft, *self.folds.values(), self.problems, *self.shown.values(), self.memory.fold,
                self.memory.bars]  # fmt: skip

    @property
    def outputs(self) -> list[Block]:
        return [self.preset, self.ahead, self.filled, *self.fields.values(), *self.looks]


def build(shared: Shared) -> None:
    values = settings.of_preset(FIRST)
    with gr.Row(elem_id="run-head"):
        preset = gr.Dropdown(presets(), value=FIRST, label="Preset", filterable=False, elem_id="preset", min_width=180)
        name = form.component("name", "")
        start = gr.Button("Start Training", variant="primary", elem_id="start", min_width=160)
    page = Page(
        shared, preset, gr.BrowserState({}, storage_key="second-opinion-draft", secret="second-opinion"),
        gr.State(None), gr.State(FIRST), _marks(), fields={"name": name},
    )  # fmt: skip
    with gr.Row(elem_id="run-body"):
        with gr.Column(scale=3, min_width=320):
            for section in form.SECTIONS:
                _section(page, section, values)
            page.resets[""] = gr.Button("Reset all", size="sm", elem_classes="small-button")
        with gr.Column(scale=2, min_width=320):
            page.problems = gr.HTML(elem_id="problems", elem_classes="so-shown", apply_default_css=False)
            page.memory = run_memory.build()
            _outcome(page)
            script, upload, take, report = _importer()
    _wire(page, start)
    upload.upload(uploaded, upload, script, **QUIET)
    take.click(
        lambda text, preset, ahead, *held: take_script(page, report, text, preset, held[:-1]),
        [script, *page.inputs], [*page.outputs, report], **QUIET,
    ).then(*_look(page), **_preflighting()).then(*_show(page), **QUIET)  # fmt: skip


def _marks() -> gr.HTML:
    """Shows nothing itself: its script writes at the fields what its value, JSON, says of them."""
    return gr.HTML(
        "{}", html_template="<div></div>", js_on_load=(STATIC / "marks.js").read_text(encoding="utf-8"),
        elem_id="marks", apply_default_css=False,
    )  # fmt: skip


def _section(page: Page, section: form.Section, values: Mapping[str, Any]) -> None:
    with gr.Accordion(section.name, open=section.name in OPEN, elem_id=f"section-{section.name}") as fold:
        gr.HTML(str(tag("p", section.about, class_="about")), apply_default_css=False, elem_classes="so-shown")
        with gr.Row(elem_classes="set-row"):
            for key in section.keys:
                page.fields[key] = form.component(key, values[key])
        page.resets[section.name] = gr.Button(f"Reset {section.name}", size="sm", elem_classes="small-button")
    page.folds[section.name] = fold


def _outcome(page: Page) -> None:
    about = f"As OpenRLHF will be started. {RUN} stands for the id that the run gets."
    texts = {
        "command": ("Command", about, 6),
        "configs": ("CUSTOM_CONFIGS", "The environment variable of that name.", 6),
        "line": ("The same from the command line", "Creates and starts the same run.", 2),
    }
    for name, (label, info, lines) in texts.items():
        page.shown[name] = gr.Textbox(
            label=label, info=info, lines=lines, max_lines=14, interactive=False, buttons=["copy"],
            elem_id=f"shown-{name}", elem_classes="shown-text",
        )  # fmt: skip


def _importer() -> tuple[gr.Textbox, gr.UploadButton, gr.Button, gr.HTML]:
    with gr.Accordion("Import a script", open=False, elem_id="import"):
        script = gr.Textbox(
            label="Script", lines=6, max_lines=14, elem_id="script", elem_classes="shown-text",
            info="A shell script that starts openrlhf.cli.train_ppo_ray. It is read, never run. What it does not name is "
            "set as if nothing had been changed.",
        )  # fmt: skip
        with gr.Row():
            upload = gr.UploadButton("Upload a file", size="sm", elem_classes="small-button")
            take = gr.Button("Import", size="sm", elem_id="take-script", elem_classes="small-button")
        report = gr.HTML(elem_id="imported", elem_classes="so-shown", apply_default_css=False)
    return script, upload, take, report


def _show(page: Page) -> tuple[Callable, list[Block], list[Block]]:
    return (lambda *held: show(page, *_split(held)) | _memory(page, held)), page.inputs, page.looks


def _look(page: Page) -> tuple[Callable, list[Block], list[Block]]:
    return (lambda *held: look(page, *_split(held))), page.inputs, [page.ahead]


def _preflighting() -> dict[str, Any]:
    return QUIET | {"queue": True, "concurrency_id": "preflight", "concurrency_limit": 4}


def _starting(page: Page) -> dict[str, Any]:
    """Through a queue of its own, in which nobody waits: only a queued event tells the other pages which run is shown."""
    queue = {"queue": True, "concurrency_id": "start", "concurrency_limit": None}
    return QUIET | queue | {"show_progress": "minimal", "show_progress_on": page.problems}


def _split(held: Sequence[Any]) -> tuple[str, Ahead, dict[str, Any]]:
    preset, ahead, *components, _ = held
    return preset, ahead, form.read(components)


def _memory(page: Page, held: Sequence[Any]) -> Updates:
    preset, _, values = _split(held)
    return run_memory.show(page.memory, preset, values, held[-1])


def _wire(page: Page, start: gr.Button) -> None:
    """What happens when: each change is looked at at once, and preflighted when a field is left."""
    changed = [component.input for component in (*page.fields.values(), page.memory.size)]
    left = [component.blur if hasattr(component, "blur") else component.input for component in page.fields.values()]
    gr.on(changed, *_show(page), trigger_mode="always_last", **QUIET)
    gr.on(left, *_look(page), trigger_mode="always_last", **_preflighting()).then(*_show(page), **QUIET)
    refilling = [
        page.preset.input(
            lambda filled, *held: choose(page, filled, *_split(held)),
            [page.filled, *page.inputs],
            page.outputs,
            **QUIET,
        ),
        Context.root_block.load(lambda draft: restore(page, draft), page.draft, page.outputs, **QUIET),
    ]
    refilling.append(
        page.shared.cloned.change(lambda cloned: copy(page, cloned), page.shared.cloned, page.outputs, **QUIET)
    )
    refilling.append(page.memory.bars.select(_advised(page), page.inputs, page.outputs, **QUIET))
    for name, button in page.resets.items():
        refilling.append(
            button.click(lambda *held, name=name: reset(page, name, *_split(held)), page.inputs, page.outputs, **QUIET)
        )
    for event in refilling:
        event.then(*_look(page), **_preflighting()).then(*_show(page), **QUIET)
    start.click(
        lambda *held: begin(page, *_split(held)), page.inputs, [page.ahead, page.shared.chosen, page.shared.tabs],
        trigger_mode="once", **_starting(page),
    ).then(*_show(page), **QUIET)  # fmt: skip


def _advised(page: Page) -> Callable[..., Updates]:
    """What a click on a piece of advice does."""

    def take(event: gr.EventData, *held) -> Updates:
        preset, _, values = _split(held)
        return refill(page, preset, run_memory.changed(values, event.setting, event.value))

    return take


def show(page: Page, preset: str, ahead: Ahead, values: dict[str, Any]) -> Updates:
    """Everything that follows from the settings at once."""
    run = form.resolve(preset, values)
    good = [tag("p", one.text, class_="fine") for one in ahead or () if isinstance(one, Vouched)]
    problems = [*(run if isinstance(run, list) else ()), *(one for one in ahead or () if isinstance(one, Problem))]
    updates: Updates = {
        page.marks: json.dumps(form.marks(preset, values, problems)),
        page.draft: {"preset": preset, "settings": settings.changed(values, preset)},
        page.problems: str(join(listed(problems, ahead is not None), *good)),
    }
    for section in form.SECTIONS:
        updates[page.folds[section.name]] = gr.update(label=form.heading(section, preset, values, problems))
    return updates | _texts(page, run, values)


def refill(page: Page, preset: str, values: dict[str, Any]) -> Updates:
    """Puts the values into the fields."""
    held = {component: form.held(key, values[key]) for key, component in page.fields.items()}
    return show(page, preset, None, values) | held | {page.ahead: None, page.filled: preset}


def _texts(page: Page, run: RunConfig | list[Problem], values: Mapping[str, Any]) -> Updates:
    if not isinstance(run, RunConfig):
        return {text: UNFIT for text in page.shown.values()}
    return {
        page.shown["command"]: shell(run, page.shared.runs.folder),
        page.shown["configs"]: json.dumps(json.loads(run.custom_configs.to_json()), indent=2),
        page.shown["line"]: launcher_line(run.preset, settings.changed(values, run.preset)),
    }


def shell(run: RunConfig, folder: Path) -> str:
    """The command of a run that is not made yet."""
    with suppress(Refused):  # a demo model that is missing: the preflight says so
        run = settled(run)
    found = preflight.engine_report(run.device).engine or engine.Engine(run.device, Path("python"), {})
    return command.build(command.Start(run, RunDir(folder / RUN)), found).shell()


def launcher_line(preset: str, changed: Mapping[str, Any]) -> str:
    sets = [word for key, value in changed.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    return shlex.join(["python", "-m", "launcher", "run", "--preset", preset, *sets])


def listed(problems: Sequence[Problem], looked: bool) -> Markup:
    """All problems, each with its setting. looked: a preflight was made of these settings."""
    if not problems and not looked:
        return tag("p", "Preflight: not done yet.", class_="about", role="status")
    if not problems:
        return tag("p", "Preflight: nothing stands in the way.", class_="fine", role="status")
    errors = sum(problem.level == "error" for problem in problems)
    head = f"{errors} to put right before the start" if errors else "Ready to start, with warnings"
    items = [tag("li", _place(problem), problem.text, data_level=problem.level) for problem in problems]
    return join(tag("p", head, class_="bad" if errors else "warn", role="status"), tag("ul", *items, class_="problems"))


def _place(problem: Problem) -> Markup | None:
    """The setting's name, unless the text begins with it."""
    told = problem.field is None or problem.text.startswith(problem.field)
    return None if told else tag("b", form.label(problem.field) + " ")


def look(page: Page, preset: str, ahead: Ahead, values: dict[str, Any]) -> Ahead:
    """The preflight, once the settings fit together."""
    run = form.resolve(preset, values)
    return [*preflight.check(run, page.shared.runs), *vouched(page, run)] if isinstance(run, RunConfig) else None


def vouched(page: Page, run: RunConfig) -> list[Vouched]:
    """What speaks for the judge; what speaks against it is a problem of the preflight's."""
    with suppress(JudgeError):
        if (found := judge_check.standing(run.judge, page.shared.runs.folder)) and found.verdict == "ok":
            return [Vouched(found.text)]
    return []


def choose(page: Page, filled: str, preset: str, ahead: Ahead, values: dict[str, Any]) -> Updates:
    """The preset's own settings if it is a new one; the name stays."""
    if preset == filled:
        return {page.ahead: ahead}
    return refill(page, preset, settings.of_preset(preset) | {"name": values["name"]})


def reset(page: Page, section: str, preset: str, ahead: Ahead, values: dict[str, Any]) -> Updates:
    """The preset's settings in one section, or in all for ""."""
    keys = next((one.keys for one in form.SECTIONS if one.name == section), form.KEYS)
    base = settings.of_preset(preset)
    return refill(page, preset, values | {key: base[key] for key in keys if key != "name"})


def restore(page: Page, draft: Any) -> Updates:
    """The form as this browser left it."""
    kept = draft if isinstance(draft, dict) else {}
    preset = kept.get("preset") if kept.get("preset") in presets() else FIRST
    values = form.with_draft(preset, kept.get("settings"))
    return refill(page, preset, values) | {page.preset: preset}


def copy(page: Page, cloned: Mapping[str, Any]) -> Updates:
    """The settings of a run that is to be done again."""
    values = settings.flat(RunConfig.model_validate(cloned["settings"]))
    preset = values["preset"] if values["preset"] in presets() else FIRST
    return refill(page, preset, values | {"preset": preset}) | {page.preset: preset}


def begin(page: Page, preset: str, ahead: Ahead, values: dict[str, Any]) -> Updates:
    """Creates and starts the run and opens Live, unless something stands in the way."""
    run = form.resolve(preset, values)
    if not isinstance(run, RunConfig):
        return {page.ahead: None}
    with page.starting:
        return _begin(page, run)


def _begin(page: Page, run: RunConfig) -> Updates:
    found = preflight.check(run, page.shared.runs)
    if any(problem.level == "error" for problem in found):
        return {page.ahead: found}
    try:
        made = page.shared.runs.create(run)
    except (Refused, NoCases, DataError, OSError) as error:
        return {page.ahead: [Problem(None, str(error)), *found]}
    try:
        page.shared.runs.start(made)
    except (Refused, Unreadable, OSError) as error:
        text = f"{error}; run {made.id} is made and not started: Resume on the page History starts it"
        return {page.ahead: [Problem(None, text), *found]}
    return {page.shared.chosen: made.id, page.shared.tabs: gr.Tabs(selected="live")}


def uploaded(path: str) -> str:
    """The file's text; what is not UTF-8 is shown as such."""
    with Path(path).open(encoding="utf-8", errors="backslashreplace") as file:
        return file.read(MOST_CHARACTERS + 1)


def take_script(page: Page, report: gr.HTML, text: str, preset: str, held: Sequence[Any]) -> Updates:
    """Fills the form from a script, and says what became of each flag."""
    values = form.read(held)
    try:
        imported = legacy.read(text)
    except legacy.LegacyError as error:
        return {report: str(tag("p", str(error), class_="bad", role="status"))}
    new = settings.of_preset(preset) | {"name": values["name"]} | imported.settings
    return refill(page, preset, new) | {report: str(_imported(imported))}


def _imported(imported: legacy.Imported) -> Markup:
    translated = [
        [one.flag, tag("b", form.label(one.setting)), form.spoken(one.value), one.why] for one in imported.translated
    ]
    named = [[one.flag, one.what_to_do] for one in imported.named]
    return join(
        tag("p", f"{len(translated)} settings filled in, {len(named)} flags to know about.", role="status"),
        table(("Flag", "Setting", "Value", "Because"), translated),
        table(("Flag", "What to do"), named) if named else None,
    )
