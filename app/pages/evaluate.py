"""The page Evaluate: models on notes with known labels, in a process of their own that outlives the page."""

from contextlib import suppress
from typing import Any

import gradio as gr
from gradio.context import Context
from pydantic import ValidationError

from app import evaluate_view
from app.shared import Shared, served
from launcher import evaluation_result, evaluation_verbs, evaluations, rundir, store_evaluations
from launcher.config import DEMO_MODEL
from launcher.evaluation_models import choices
from launcher.evaluations import EvalDir, Request
from launcher.markup import join, table, tag
from launcher.reading import Unreadable
from launcher.rundir import UnknownRun
from launcher.runs import Refused
from medical_team.evaluation import How
from medical_team.evaluation.scores import ORDER
from medical_team.evaluation.sets import DEMO
from medical_team.medec import DataError

NEWEST = 20
"""Runs whose models are offered; any other can be typed."""
LISTED = 200
MOST_ROWS = 500
EVERY = 1.5
"""Seconds between two looks at one that is running."""


def build(shared: Shared) -> None:
    tab = Context.block
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    queued = quiet | {"queue": True, "concurrency_id": "evaluate", "concurrency_limit": 4}
    with gr.Row(elem_classes="filters"):
        before = gr.Dropdown([DEMO_MODEL], value=DEMO_MODEL, allow_custom_value=True, label="Before", min_width=220,
                             info=described("models", "The model that the others are held against."))  # fmt: skip
        after = gr.Dropdown([], value=[], multiselect=True, allow_custom_value=True, label="After", min_width=260,
                            info="More models or checkpoints of the same kind of names.")  # fmt: skip
        data = gr.Textbox(DEMO, label="Notes", min_width=200, elem_id="evaluate-data", info=described("data"))
    with gr.Row(elem_classes="filters"):
        view = gr.Radio(["pairs", "published"], value="pairs", label="Notes of a MEDEC file", info=described("view"))
        cases = gr.Number(
            100, label="Cases of the demo", precision=0, minimum=1, min_width=120, info=described("cases")
        )
        how = gr.CheckboxGroup(list(How), value=list(How), label="Replies", min_width=160, info=described("how"))
        attack = gr.Checkbox(False, label="Attack", min_width=160, info=described("attack"))
    with gr.Accordion("More", open=False), gr.Row(elem_classes="filters"):
        device = gr.Radio(["cpu", "cuda"], value="cpu", label="Device", min_width=120)
        style = gr.Dropdown([("as the model needs", ""), "full", "short"], value="", label="Prompts", min_width=140)
        tokens = gr.Number(None, label="Most tokens", precision=0, min_width=120, info=described("most_tokens"))
        heat = gr.Number(None, label="Temperature", minimum=0, min_width=120, info=described("temperature"))
        judge = gr.Textbox("", label="Judge of run", min_width=200, info=described("judge_from"))
        seed = gr.Number(42, label="Seed", precision=0, minimum=0, min_width=100, info=described("seed"))
        seen = gr.Checkbox(False, label="Keep notes trained on", min_width=160, info=described("keep_seen"))
    with gr.Row(elem_classes="pager"):
        start = gr.Button("Evaluate", variant="primary", elem_id="evaluate-start", min_width=160)
        stop = gr.Button("Stop", variant="stop", elem_id="evaluate-stop", min_width=90, interactive=False)
        export = gr.Button("Export", elem_id="evaluate-export", min_width=90)
    refused = gr.HTML(elem_classes="so-shown", apply_default_css=False)
    picked = gr.Dropdown([], label="Evaluations", elem_id="evaluations", filterable=False)
    page = gr.HTML(str(tag("p", evaluate_view.NONE_YET, class_="empty")), elem_id="evaluation", elem_classes="so-shown",
                   apply_default_css=False)  # fmt: skip
    files = gr.File(label="Exports", file_count="multiple", interactive=False, visible=False)
    with gr.Accordion("One measure across all evaluations", open=False) as fold:
        measure = gr.Dropdown(list(ORDER), value=ORDER[0], allow_custom_value=True, label="Measure",
                              info="Of assessors as listed; also faithful, format kept, self-BLEU …")  # fmt: skip
        rows = gr.HTML(elem_id="across", elem_classes="so-shown", apply_default_css=False)
    timer = gr.Timer(EVERY, active=False)
    looks = [page, stop, timer]

    def arrive(chosen: str, id: str | None) -> tuple:
        """Names to choose from, the list, and the newest evaluation."""
        named = models(shared, chosen)
        rows = listed(shared)
        id = id if id in [value for _, value in rows] else (rows[0][1] if rows else None)
        return (
            gr.Dropdown(choices=named),
            gr.Dropdown(choices=named),
            gr.Dropdown(choices=rows, value=id),
            *look(shared, id),
        )

    tab.select(arrive, [shared.chosen, picked], [before, after, picked, *looks], **quiet)

    def begin(before, after, data, view, cases, how, attack, device, style, tokens, heat, judge, seed, seen) -> tuple:
        try:
            request = Request(
                models=(before or "", *(one for one in after if one != before)), data=data.strip(), view=view, cases=cases,
                how=how, attack=attack, device=device, style=style or None, most_tokens=tokens or None,
                temperature=heat or None, judge_from=judge.strip() or None, seed=seed, keep_seen=seen,
            )  # fmt: skip
            one = evaluations.create(shared.runs, request)
        except (ValidationError, Refused, UnknownRun, DataError, Unreadable, OSError) as error:
            return str(tag("p", why(error), role="alert")), gr.skip(), *(gr.skip(),) * 3, gr.skip()
        evaluations.start(shared.runs, one)
        rows = listed(shared)
        return "", gr.Dropdown(choices=rows, value=one.id), *look(shared, one.id), gr.File(None, visible=False)

    start.click(
        begin, [before, after, data, view, cases, how, attack, device, style, tokens, heat, judge, seed, seen],
        [refused, picked, *looks, files], **queued,
    )  # fmt: skip

    def show(id: str | None) -> tuple:
        return *look(shared, id), gr.File(None, visible=False)

    picked.input(show, picked, [*looks, files], **quiet)
    timer.tick(lambda id: look(shared, id), picked, looks, **quiet)

    gr.on([fold.expand, measure.input], lambda name: across(shared, name), measure, rows, **quiet)

    def end(id: str | None) -> tuple:
        if id:
            with suppress(Refused, UnknownRun, Unreadable):
                evaluations.stop(evaluations.find(shared.runs, id))
        return look(shared, id)

    stop.click(end, picked, looks, **queued)

    def write_out(id: str | None) -> gr.File:
        found = evaluations.find(shared.runs, id) if id else None
        if found is None or not found.result.exists():
            raise gr.Error("There is nothing to export before an evaluation is done.", print_exception=False)
        files = (found.path / name for name in evaluation_result.EXPORTS)
        return gr.File([served(path) for path in files if path.exists()], visible=True)

    export.click(write_out, picked, files, **queued)


def described(name: str, instead: str = "") -> str:
    return instead or Request.model_fields[name].description.replace("\n", " ")


def why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return str(error)


def models(shared: Shared, chosen: str) -> list[str]:
    """Names to choose from: the shown run's first, then those of the newest runs."""
    runs = list(reversed(rundir.every(shared.runs.folder)))
    first = [run for run in runs if run.id == chosen]
    return [DEMO_MODEL, *(name for run in [*first, *(run for run in runs[:NEWEST] if run.id != chosen)]
                          for name in choices(run))]  # fmt: skip


def listed(shared: Shared) -> list[tuple[str, str]]:
    """What the list says, and the id behind it; newest first. One whose files are damaged says why when it is chosen."""
    return [(_line(one), one.id) for one in list(reversed(evaluations.every(shared.runs)))[:LISTED]]


def _line(one: EvalDir) -> str:
    try:
        told = evaluations.about(one)
    except Unreadable:
        return f"{one.id} · unreadable"
    return f"{one.id} · {told.notes} · {' → '.join(told.request.models)}"[:160]


def look(shared: Shared, id: str | None) -> tuple:
    """The evaluation as it is now; the timer goes on while it runs."""
    if not id:
        return (
            str(tag("p", evaluate_view.NONE_YET, class_="empty")),
            gr.Button(interactive=False),
            gr.Timer(active=False),
        )
    try:
        one = evaluations.find(shared.runs, id)
        html, running = _shown(one)
    except (UnknownRun, Unreadable) as error:
        return str(tag("p", str(error), role="alert")), gr.Button(interactive=False), gr.Timer(active=False)
    return html, gr.Button(interactive=running), gr.Timer(active=running)


def _shown(one: EvalDir) -> tuple[str, bool]:
    now, told = evaluations.look(one), evaluations.about(one)
    found = evaluations.result(one) if now.state == "done" else None
    body = evaluate_view.shown(found, told.source) if found else None
    return str(join(evaluate_view.head(told, now, evaluations.progress(one)), body)), now.state == "running"


def across(shared: Shared, measure: str) -> str:
    """Every model's value, newest evaluation first. Only equal notes can be compared, so they are named."""
    problems = [tag("p", f"Left out: {why}", role="alert") for why in evaluations.refresh(shared.runs, shared.store)]
    found = store_evaluations.of_measure(shared.store, measure)[:MOST_ROWS]
    if not found:
        return str(join(*problems, tag("p", "No evaluation has this measure.", class_="empty")))
    rows = [list(evaluation_verbs.across(row)) for row in found]
    return str(join(*problems, table(evaluation_verbs.ACROSS, rows, "so-measures")))
