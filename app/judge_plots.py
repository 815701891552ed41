"""The plots of the page Judge over steps, drawn by the same script as those of the page Live."""

from app.live_chart import Curves, Plot, columns
from launcher import store_judge_steps, store_probes
from launcher.store import Store

JUDGE = {"abstained": "abstained", "unreadable": "unreadable", "late or broken": "failed"}
ASSESSOR = {"missed errors": "missed", "flagged harmless notes": "flagged"}
PROBES = {"misses": "misses", "over-flags": "over_flags", "no label": "unlabelled"}


def judge(store: Store, run: str, since: float) -> Curves:
    return columns(tuple(JUDGE), store_judge_steps.rows(store, run, tuple(JUDGE.values()), int(since)))


def assessor(store: Store, run: str, since: float) -> Curves:
    return columns(tuple(ASSESSOR), store_judge_steps.rows(store, run, tuple(ASSESSOR.values()), int(since)))


def probes(store: Store, run: str, since: float) -> Curves:
    points = store_probes.rates(store, run, int(since))
    return {name: [(point.step, getattr(point, field)) for point in points] for name, field in PROBES.items()}


ASKED = "Comes with the first step in which a judge is asked."
PROBED = (
    "Comes with the first probe: with a judge that is a model, a note with a known label is put to it now and then."
)

PLOTS = (
    Plot("judge-rates", "Verdicts without a label", "share of the games judged", ASKED, judge, share=True),
    Plot("judge-probes", "Probes during the run", "share", PROBED, probes, share=True, games=""),
    Plot("assessor-errors", "Assessor against the truth", "share", ASKED, assessor, share=True),
)
