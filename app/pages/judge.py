"""The page Judge: whether to believe it. Matrices, rates, the judge check, and a review queue that keys alone can drive."""

import time
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import ValidationError

from app import judge_view
from app.shared import Shared
from launcher import reviews, rundir, store_judge, store_page, store_probes
from launcher.ingest import ingest
from launcher.markup import join, tag
from launcher.rundir import UnknownRun
from launcher.store_page import LostGame
from medical_team.judge import report
from medical_team.types import Label

STATIC = Path(__file__).parent.parent / "static"
LABELS = {"safe": Label.SAFE, "harmful": Label.HARMFUL, "unsure": None}

TEMPLATE = """
<div class="so-judge">
  <p class="so-empty" role="status"></p>
  <div class="so-overview"></div>
  <section class="so-review" aria-label="Review" hidden>
    <h2>Review</h2>
    <p>Label notes yourself: <kbd>s</kbd> safe, <kbd>h</kbd> harmful, <kbd>u</kbd> unsure, <kbd>j</kbd> next, <kbd>k</kbd>
      previous. Your label is kept beside the verdict and changes nothing that the run was paid.</p>
    <p class="so-place" role="status" aria-live="polite"></p>
    <div class="so-agreement"></div>
    <div class="so-keys">
      <button type="button" class="so-button" data-key="k">Previous</button>
      <button type="button" class="so-button" data-key="j">Next</button>
      <button type="button" class="so-button" data-key="s">Safe</button>
      <button type="button" class="so-button" data-key="h">Harmful</button>
      <button type="button" class="so-button" data-key="u">Unsure</button>
      <label><input type="checkbox"> Show verdicts before labelling</label>
    </div>
    <div class="so-note"></div>
  </section>
</div>
"""


def build(shared: Shared) -> None:
    def overview(asked: dict[str, str]) -> dict[str, Any]:
        return {"html": overview_of(shared, asked["run"]), "queue": store_judge.queue(shared.store, asked["run"])}

    def note(asked: dict[str, Any]) -> dict[str, str]:
        return note_of(shared, asked["run"], asked["game"], bool(asked["shown"]))

    def label(asked: dict[str, str]) -> dict[str, str]:
        return labelled(shared, asked["run"], asked["game"], asked["label"])

    def games(event: gr.EventData) -> tuple[dict[str, Any], gr.Tabs]:
        wanted = {
            "source": event.source,
            "label": event.label,
            "answer": event.answer,
            "mode": "train",
            "at": time.time(),
        }
        return wanted, gr.Tabs(selected="games")

    page = gr.HTML(
        "", html_template=TEMPLATE, js_on_load=(STATIC / "judge.js").read_text(encoding="utf-8"),
        server_functions=[overview, note, label], elem_id="judge", elem_classes="so-shown", apply_default_css=False,
    )  # fmt: skip
    shared.chosen.change(
        lambda run: run, shared.chosen, page, queue=False, show_progress="hidden", api_visibility="private"
    )
    page.select(games, None, [shared.wanted, shared.tabs], show_progress="hidden", api_visibility="private")


def overview_of(shared: Shared, run: str) -> str:
    judge = store_judge.judge_of(shared.store, run)
    return str(join(
        tag("h2", "Verdicts and answers"), judge_view.matrices(store_judge.cells(shared.store, run)),
        judge_view.probes(store_probes.rates(shared.store, run)),
        tag("h2", "Judge check"), judge_view.check(judge, _report(shared, judge)),
    ))  # fmt: skip


def _report(shared: Shared, judge: str | None) -> report.Report | None:
    try:
        return report.read(shared.runs.folder, judge) if judge else None
    except ValidationError:
        return None


def note_of(shared: Shared, run: str, game: str, shown: bool) -> dict[str, str]:
    """The note, and how people and judge agree so far."""
    try:
        record = store_page.read(shared.store, run, game)
    except LostGame as error:
        return {"html": str(tag("p", str(error), class_="empty")), "agreement": ""}
    person = store_judge.review_of(shared.store, run, game)
    agreement = store_judge.agreement(store_judge.reviewed(shared.store, run))
    return {"html": str(judge_view.note(record, person, shown)), "agreement": str(judge_view.agreement(agreement))}


def labelled(shared: Shared, run: str, game: str, label: str) -> dict[str, str]:
    """Writes the review down. Answers {"refused": why}, or nothing to say."""
    try:
        folder = rundir.find(shared.runs.folder, run)
        store_page.read(shared.store, run, game)
    except (UnknownRun, LostGame) as error:
        return {"refused": str(error)}
    if label not in LABELS:
        return {"refused": f"a note is safe, harmful or unsure, not {label!r}"}
    reviews.add(folder, game, LABELS[label])
    ingest(shared.store, folder.path)
    return {}
