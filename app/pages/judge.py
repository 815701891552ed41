"""The page Judge: whether to believe it. Matrices, rates, the judge check, and a review queue that keys alone can drive."""

import io
import time
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import ValidationError

from app import calibration, judge_view
from app.pages import live
from app.points import Board
from app.shared import Shared
from launcher import export, judge_check, reviews, rundir, store_judge, store_page, store_probes, store_truth
from launcher.ingest import ingest
from launcher.markup import join, tag
from launcher.reading import Unreadable, reading
from launcher.rundir import UnknownRun
from launcher.runs import config_of
from launcher.store_page import LostGame
from launcher.store_truth import Believed
from medical_team.judge import report
from medical_team.judge.report import Report
from medical_team.types import Label

STATIC = Path(__file__).parent.parent / "static"
CELL = ("source", "label", "judged", "known", "answer")
"""What a cell of a matrix filters by, by the names that GameFilter gives them."""
LABELS = {"safe": Label.SAFE, "harmful": Label.HARMFUL, "unsure": None}

TEMPLATE = """
<div class="so-judge">
  <p class="so-empty" role="status"></p>
  <div class="so-overview"></div>
  <section class="so-review" aria-label="Review" hidden>
    <h2>Review</h2>
    <p>Label notes yourself, blind: the verdict is hidden until you have. <kbd>s</kbd> safe,
      <kbd>h</kbd> harmful, <kbd>u</kbd> unsure, <kbd>j</kbd> next, <kbd>k</kbd>
      previous. Your label is kept beside the verdict and changes nothing that the run was paid.</p>
    <p class="so-place" role="status" aria-live="polite"></p>
    <div class="so-agreement"></div>
    <div class="so-keys">
      <button type="button" class="so-button" data-key="k">Previous</button>
      <button type="button" class="so-button" data-key="j">Next</button>
      <button type="button" class="so-button" data-key="s">Safe</button>
      <button type="button" class="so-button" data-key="h">Harmful</button>
      <button type="button" class="so-button" data-key="u">Unsure</button>
      <label><input type="checkbox" name="shown"> Show verdicts before labelling</label>
      <label><input type="checkbox" name="keys" checked> Keys act</label>
    </div>
    <div class="so-keys">
      <label>Your name, if you like <input type="text" name="reviewer" maxlength="2000" autocomplete="off"></label>
      <label>Remark on this note <input type="text" name="remark" maxlength="2000" autocomplete="off"></label>
      <button type="button" class="so-button" data-export="csv">Reviews as CSV</button>
      <button type="button" class="so-button" data-export="jsonl">Reviews as JSONL</button>
    </div>
    <p class="so-answer" role="alert" hidden></p>
    <div class="so-note"></div>
  </section>
</div>
"""


def build(shared: Shared) -> None:
    def overview(asked: dict[str, Any]) -> dict[str, Any]:
        queue = {"queue": store_judge.queue(shared.store, asked["run"])} if asked["queue"] else {}
        return {"html": overview_of(shared, asked["run"])} | queue

    def note(asked: dict[str, Any]) -> dict[str, str]:
        return note_of(shared, asked["run"], asked["game"], bool(asked["shown"]))

    def label(asked: dict[str, str]) -> dict[str, str]:
        return labelled(shared, asked["run"], asked["game"], asked["label"], asked["reviewer"], asked["remark"])

    def exported(asked: dict[str, str]) -> str:
        return exported_of(shared, asked["run"], asked["kind"])

    def games(event: gr.EventData) -> tuple[dict[str, Any], gr.Tabs]:
        cell = {name: str(event.cell[name]) for name in CELL if name in event.cell}
        return cell | {"mode": "train", "at": time.time()}, gr.Tabs(selected="games")

    page = gr.HTML(
        "", html_template=TEMPLATE, js_on_load=(STATIC / "judge.js").read_text(encoding="utf-8"),
        server_functions=[overview, note, label, exported], elem_id="judge", elem_classes="so-shown",
        apply_default_css=False,
    )  # fmt: skip
    shared.chosen.change(
        lambda run: run, shared.chosen, page, queue=False, show_progress="hidden", api_visibility="private"
    )
    page.select(games, None, [shared.wanted, shared.tabs], show_progress="hidden", api_visibility="private")
    _plots(shared)


def _plots(shared: Shared) -> None:
    """Rates over the steps, drawn as the page Live draws its curves; a click on a step opens its games."""

    def games(event: gr.EventData) -> tuple[dict[str, Any], gr.Tabs]:
        return {"step": int(event.step), "mode": "train", "at": time.time()}, gr.Tabs(selected="games")

    plots = live.place(shared, Board.JUDGE, "judge-plots")
    plots.select(games, None, [shared.wanted, shared.tabs], show_progress="hidden", api_visibility="private")


def overview_of(shared: Shared, run: str) -> str:
    judge = store_judge.judge_of(shared.store, run)
    found = _report(shared, judge)
    cells = store_judge.cells(shared.store, run)
    probes = found.probes if isinstance(found, Report) else ()
    believed = {
        "judge check": [
            Believed(one.p_harm, one.expected is Label.HARMFUL) for one in probes if one.p_harm is not None
        ],
        "probes of this run": store_truth.of_probes(shared.store, run),
        "reviewed notes": store_truth.of_reviews(shared.store, run),
    }
    return str(join(
        tag("h2", "Verdicts and answers"),
        judge_view.truths(store_truth.matrix(shared.store, run)) if cells else None, judge_view.matrices(cells),
        tag("h2", "Judge check"), judge_view.check(judge, found, _again(shared, run)),
        tag("h2", "Probes of this run"), judge_view.probes(store_probes.confusion(shared.store, run)),
        calibration.shown(believed),
    ))  # fmt: skip


def _report(shared: Shared, judge: str | None) -> Report | Unreadable | None:
    if judge is None:
        return None
    try:
        with reading(report.file(shared.runs.folder, judge)):
            return report.read(shared.runs.folder, judge)
    except Unreadable as error:
        return error


def _again(shared: Shared, run: str) -> str | None:
    """The command that checks the run's judge; None for one without a model, and for settings that cannot be read."""
    try:
        config = config_of(rundir.find(shared.runs.folder, run))
    except (UnknownRun, Unreadable):
        return None
    return judge_check.again(config) if config.judge.asks_a_model else None


def note_of(shared: Shared, run: str, game: str, shown: bool) -> dict[str, str]:
    """The note, and how people and judge agree so far."""
    try:
        record = store_page.read(shared.store, run, game)
    except LostGame as error:
        return {"html": str(tag("p", str(error), class_="empty")), "agreement": ""}
    person = store_judge.review_of(shared.store, run, game)
    agreement = store_judge.agreement(store_judge.reviewed(shared.store, run))
    return {"html": str(judge_view.note(record, person, shown)), "agreement": str(judge_view.agreement(agreement))}


def labelled(shared: Shared, run: str, game: str, label: str, reviewer: str, remark: str) -> dict[str, str]:
    """Writes the review down. Answers {"refused": why}, or nothing to say."""
    if label not in LABELS:
        return {"refused": f"a note is safe, harmful or unsure, not {label!r}"}
    try:
        folder = rundir.find(shared.runs.folder, run)
        store_page.read(shared.store, run, game)
        reviews.add(folder, game, LABELS[label], reviewer, remark)
    except (UnknownRun, LostGame) as error:
        return {"refused": str(error)}
    except ValidationError as error:
        return {"refused": "; ".join(one["msg"] for one in error.errors())}
    ingest(shared.store, folder.path)
    return {}


def exported_of(shared: Shared, run: str, kind: str) -> str:
    """jsonl: every review as it was written down. csv: the last of each game, beside the verdict. Errors: UnknownRun."""
    folder = rundir.find(shared.runs.folder, run)
    if kind == "jsonl":
        return folder.reviews.read_text(encoding="utf-8") if folder.reviews.exists() else ""
    out = io.StringIO(newline="")
    export.write_csv(out, export.reviews(shared.store, run))
    return out.getvalue()
