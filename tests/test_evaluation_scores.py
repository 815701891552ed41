"""Metrics: recomputed by hand, and held against scikit-learn, scipy and the known figures of constant answers."""

import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics

from medical_team import evaluation as ev
from medical_team.evaluation import How, Note, Prediction, scores, sets
from medical_team.evaluation.intervals import bootstrap, mcnemar, wilson
from medical_team.types import Label

HARMFUL, SAFE = Label.HARMFUL, Label.SAFE
DATA = Path(__file__).parent / "data"
MEDEC = Path(__file__).parents[2] / "shared" / "medec" / "MEDEC-MS-ValidationSet-with-GroundTruth-and-ErrorType.csv"


def prediction(number: int, truth: Label, answer: Label | None, kind: str = "dosage", player: str = "p") -> Prediction:
    return Prediction(
        player=player, how=How.GREEDY, note=f"n{number}", case=f"c{number // 2}", kind=kind, truth=truth, answer=answer,
        correct=answer is truth, format_reason="ok", tokens=1, truncated=False, raw="",
    )  # fmt: skip


def values(predictions) -> dict[str, float | None]:
    return {one.name: one.value for one in scores.measures(predictions)}


def answered(notes, label) -> list[Prediction]:
    """A model that gives every note the same answer."""
    return [
        Prediction(
            player=label or "nothing", how=How.GREEDY, note=note.id, case=note.case, kind=note.kind, truth=note.truth,
            answer=label, correct=label is note.truth, format_reason="ok", tokens=1, truncated=False, raw="",
        )
        for note in notes
    ]  # fmt: skip


def test_thirty_real_predictions_counted_by_hand():
    """A demo model's sampled replies. Counted with a pencil: 8 errors found, 7 missed; 12 clean notes passed, 2 called
    Harmful, 1 reply unreadable; 7 of 15 pairs wholly right."""
    found = values(ev.read_lines(DATA / "predictions-30.jsonl", Prediction))
    tp, fn, fp, tn = 8, 7, 3, 12
    assert found["accuracy"] == 20 / 30
    assert found["recall"] == 8 / 15
    assert found["specificity"] == 12 / 15
    assert found["false-positive rate"] == 3 / 15
    assert found["balanced accuracy"] == (8 / 15 + 12 / 15) / 2
    assert found["precision"] == 8 / 11
    assert found["F1"] == 16 / 26
    assert found["MCC"] == (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert found["pair accuracy"] == 7 / 15
    assert found["unreadable"] == 1 / 30
    assert found["answered Harmful"] == 10 / 30


def as_sklearn(predictions):
    """Truth and answers as it takes them: an unreadable reply is the wrong answer."""
    other = {HARMFUL: SAFE, SAFE: HARMFUL}
    truth = [one.truth is HARMFUL for one in predictions]
    return truth, [(one.answer or other[one.truth]) is HARMFUL for one in predictions]


def agree(predictions) -> None:
    found, (truth, said) = values(predictions), as_sklearn(predictions)
    wanted = {
        "accuracy": metrics.accuracy_score(truth, said),
        "balanced accuracy": metrics.balanced_accuracy_score(truth, said),
        "precision": metrics.precision_score(truth, said, zero_division=math.nan),
        "recall": metrics.recall_score(truth, said),
        "specificity": metrics.recall_score(truth, said, pos_label=False),
        "F1": metrics.f1_score(truth, said),
    }
    constant = len(set(said)) == 1
    if not constant:
        wanted["MCC"] = metrics.matthews_corrcoef(truth, said)
    else:  # scikit-learn says 0 where it divides by nothing
        assert found["MCC"] is None
    for name, value in wanted.items():
        if math.isnan(value):
            assert found[name] is None, name
        else:
            assert found[name] == pytest.approx(value, abs=1e-12), name


def test_scikit_learn_agrees_on_real_predictions():
    agree(ev.read_lines(DATA / "predictions-30.jsonl", Prediction))


ANSWERS = st.lists(st.sampled_from([HARMFUL, SAFE, None]), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(harmful=ANSWERS, safe=ANSWERS)
def test_scikit_learn_agrees_on_any_answers(harmful, safe):
    truths = [HARMFUL] * len(harmful) + [SAFE] * len(safe)
    agree([prediction(n, truth, said) for n, (truth, said) in enumerate(zip(truths, harmful + safe, strict=True))])


@pytest.mark.skipif(not MEDEC.exists(), reason="needs the MEDEC validation file")
def test_constant_answers_on_the_published_validation_notes():
    """574 notes, 319 with an error."""
    notes = sets.read(MEDEC, "published").notes
    assert sets.balance(notes) == (319, 255)
    harmful, safe = values(answered(notes, HARMFUL)), values(answered(notes, SAFE))
    assert harmful["accuracy"] == 319 / 574 and harmful["F1"] == 638 / 893 and harmful["precision"] == 319 / 574
    assert (harmful["recall"], harmful["specificity"], harmful["balanced accuracy"]) == (1, 0, 0.5)
    assert safe["accuracy"] == 255 / 574 and (safe["F1"], safe["recall"], safe["specificity"]) == (0, 0, 1)
    assert harmful["pair accuracy"] is None  # a clean note of the file is no twin of another
    for said, column in ((harmful, 1.0), (safe, 0.0)):
        assert {one.name: one.value for one in scores.trivial(notes, column)} == said


@pytest.mark.skipif(not MEDEC.exists(), reason="needs the MEDEC validation file")
def test_constant_answers_on_the_pairs():
    """319 cases, each an error note and its twin: no constant answer can be worth more than a half."""
    notes = sets.read(MEDEC).notes
    assert sets.balance(notes) == (319, 319)
    for label in Label:
        found = values(answered(notes, label))
        assert (found["accuracy"], found["balanced accuracy"], found["pair accuracy"]) == (0.5, 0.5, 0)
    kinds = {name.removeprefix("recall, ") for name in found if name.startswith("recall, ")}
    assert kinds == {"diagnosis", "management", "treatment", "pharmacotherapy", "causalOrganism"}


def test_the_known_figures_of_the_test_notes():
    """MEDEC-MS test: 597 notes, 311 with an error; always Harmful has accuracy 0.521 and F1 0.685."""
    notes = [Note(id=str(n), case=str(n), text="x", truth=HARMFUL if n < 311 else SAFE, kind="") for n in range(597)]
    found = {one.name: one.value for one in scores.trivial(notes, 1.0)}
    assert (round(found["accuracy"], 3), round(found["F1"], 3)) == (0.521, 0.685)


def test_twins_that_are_answered_alike_count_as_one():
    """100 cases, both notes of a case right or both wrong: they say as much as 100 notes, not as 200."""
    said = [
        prediction(n, SAFE if n % 2 else HARMFUL, (SAFE if n % 2 else HARMFUL) if n < 140 else None) for n in range(200)
    ]
    found = {one.name: one for one in scores.measures(said)}
    assert found["accuracy"].value == 0.7 and found["accuracy"].of == 200
    by_cases, by_notes = wilson(70, 100), wilson(140, 200)
    assert tuple(found["accuracy"].interval) == pytest.approx(by_cases, abs=0.015)
    assert found["unreadable"].interval.high - found["unreadable"].interval.low > by_notes.high - by_notes.low + 0.03
    assert found["recall"].interval == found["pair accuracy"].interval == by_cases  # one note of each case


def test_a_share_of_twins_without_spread_is_told_as_one_of_cases():
    said = [prediction(n, SAFE if n % 2 else HARMFUL, HARMFUL) for n in range(20)]
    found = {one.name: one for one in scores.measures(said)}
    assert found["accuracy"].interval == wilson(5, 10) and found["answered Harmful"].interval == wilson(10, 10)
    assert scores.share("of nothing", []).interval is None


def test_unreadable_replies_are_wrong_on_both_sides():
    found = values([prediction(0, HARMFUL, None), prediction(1, SAFE, None)])
    assert (found["accuracy"], found["recall"], found["specificity"], found["unreadable"]) == (0, 0, 0, 1)
    assert found["answered Harmful"] == 0


def test_recall_by_kind_counts_error_notes_alone():
    said = [prediction(0, HARMFUL, HARMFUL, "a"), prediction(1, SAFE, SAFE, "a"), prediction(2, HARMFUL, SAFE, "b")]
    found = {one.name: (one.value, one.of) for one in scores.measures(said)}
    assert found["recall, a"] == (1.0, 1) and found["recall, b"] == (0.0, 1)


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_is_scipys(right, more):
    of = right + more - 1 or 1
    right = min(right, of)
    wanted = binomtest(right, of).proportion_ci(method="wilson")
    assert wilson(right, of) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_a_share_of_nothing_has_no_interval():
    assert wilson(0, 0) is None


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_mcnemar_is_the_exact_binomial_test(pairs):
    found = mcnemar(*zip(*pairs, strict=True))
    differ = found.only_first + found.only_second
    assert found.p == pytest.approx(binomtest(found.only_first, differ).pvalue if differ else 1.0)


def test_mcnemar_by_hand():
    """One note lost, six won: 2 * (1 + 7) / 2^7."""
    found = mcnemar([True] + [False] * 6 + [True] * 5, [False] + [True] * 6 + [True] * 5)
    assert (found.only_first, found.only_second) == (1, 6)
    assert found.p == float(Fraction(16, 128))


def test_a_change_is_told_with_its_interval_and_refuses_other_notes():
    before = [prediction(n, HARMFUL if n % 2 else SAFE, SAFE, player="start") for n in range(40)]
    after = [prediction(n, one.truth, one.truth if n % 4 else HARMFUL, player="end") for n, one in enumerate(before)]
    found = scores.difference(before, after)
    assert (found.before, found.after, found.value) == ("start", "end", 0.25)
    assert found.interval.low < 0.25 < found.interval.high
    with pytest.raises(ValueError, match="same notes"):
        scores.difference(before, after[1:])


def test_the_bootstrap_draws_cases_and_repeats_itself():
    """Twenty cases of two notes that are always right or wrong together vary as twenty, not as forty."""
    import numpy as np

    together = np.array([[2, 2]] * 10 + [[0, 2]] * 10)
    apart = np.array([[1, 1]] * 20 + [[0, 1]] * 20)
    share = lambda sums: sums[:, 0] / sums[:, 1]  # noqa: E731
    wide, narrow = bootstrap(together, share), bootstrap(apart, share)
    assert wide == bootstrap(together, share)
    assert wide.high - wide.low > 1.25 * (narrow.high - narrow.low)
    assert bootstrap(np.array([[1, 1]] * 5), share) is None  # all right: no doubt to be told from these


def test_a_coin_is_worth_half_of_everything():
    notes = [Note(id=str(n), case=str(n // 2), text="x", truth=HARMFUL if n % 2 else SAFE, kind="k") for n in range(10)]
    found = {one.name: one.value for one in scores.trivial(notes, 0.5)}
    assert (found["accuracy"], found["pair accuracy"], found["F1"], found["MCC"]) == (0.5, 0.25, 0.5, 0.0)
    assert {one.interval for one in scores.trivial(notes, 0.5)} == {None}
