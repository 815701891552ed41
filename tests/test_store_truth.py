"""What notes are known to be: 50 games of known assessor, judge and truth, counted by hand; the judge's rates by step."""

import shlex

import pytest
import written_run

from app import calibration, judge_plots
from app.calibration import Bin
from app.judge_view import truths
from launcher import judge_check, reviews, store_judge_steps, store_truth
from launcher.__main__ import parser, resolved
from launcher.config import resolve
from launcher.ingest import ingest
from launcher.store import Store
from launcher.store_judge_steps import JudgePoint
from launcher.store_page import GameFilter, page
from launcher.store_truth import Believed
from medical_team.types import Label

ID = "20260102-030405-abcd"
H, S = Label.HARMFUL, Label.SAFE
UNSURE = "unsure"
# (verdict's source, its label, its reason, the assessor's answer, what a person says) -> games
KINDS = {
    ("dataset", H, "ok", "Harmful", None): 7, ("dataset", S, "ok", "Harmful", None): 3, ("match", S, "ok", "Safe", None): 4,
    ("rule", H, "ok", "Safe", H): 6, ("logit", S, "ok", "Safe", H): 2, ("logit", H, "ok", "Harmful", S): 5,
    ("cache", S, "ok", "Safe", S): 8, ("logit", None, "abstain", "Safe", S): 1, ("logit", S, "ok", None, UNSURE): 2,
    ("explain", None, "unreadable", "Harmful", None): 4, ("logit", None, "failed", "Safe", None): 3,
    ("logit", H, "ok", "Safe", None): 5,
}  # fmt: skip
# (known, judged, answer) -> games
CELLS = {
    ("Harmful", "not asked", "Harmful"): 7, ("Safe", "not asked", "Harmful"): 3, ("Safe", "not asked", "Safe"): 4,
    ("Harmful", "Harmful", "Safe"): 6, ("Harmful", "Safe", "Safe"): 2, ("Safe", "Harmful", "Harmful"): 5,
    ("Safe", "Safe", "Safe"): 8, ("Safe", "none", "Safe"): 1, ("none", "Safe", "none"): 2, ("none", "none", "Harmful"): 4,
    ("none", "none", "Safe"): 3, ("none", "Harmful", "Safe"): 5,
}  # fmt: skip
EVERY = [kind for kind, games in KINDS.items() for _ in range(games)]


def played(number: int, source: str, label: Label | None, reason: str, answer: str | None, _):
    game = written_run.game(ID, number, 1)
    p_harm = {H: 0.9, S: 0.1, None: 0.5}[label]
    verdict = game.verdict.model_copy(update={"source": source, "label": label, "reason": reason, "p_harm": p_harm})
    assessor = game.turns[1].model_copy(update={"answer": answer, "format_ok": answer is not None})
    return game.model_copy(update={"verdict": verdict, "truth": label, "turns": (game.turns[0], assessor)})


@pytest.fixture
def run(tmp_path):
    assert len(EVERY) == 50
    return written_run.write(tmp_path / "runs", ID, [played(number, *kind) for number, kind in enumerate(EVERY)])


@pytest.fixture
def store(run, tmp_path):
    with Store(tmp_path / "runs.db") as store:
        ingest(store, run.path)
        yield store


def review_all(run) -> None:
    for number, (*_, person) in enumerate(EVERY):
        if person:
            reviews.add(run, f"g-{number}", None if person == UNSURE else person)


def cells(store):
    return {tuple(one[:3]): one.games for one in store_truth.matrix(store, ID)}


def test_the_matrix_is_what_was_counted_by_hand(run, store):
    review_all(run)
    ingest(store, run.path)
    assert cells(store) == CELLS


def test_a_cell_opens_exactly_its_games(run, store):
    review_all(run)
    ingest(store, run.path)
    for (known, judged, answer), games in CELLS.items():
        found = page(store, ID, GameFilter(mode="train", known=known, judged=judged, answer=answer), limit=100)
        assert (len(found.games), found.total) == (games, games)
    assert len(page(store, ID, GameFilter(review="unsure"), limit=100).games) == 2
    assert len(page(store, ID, GameFilter(review="none"), limit=100).games) == 26


def test_without_reviews_only_the_data_set_knows(store):
    assert {known for known, judged, _ in cells(store) if judged != "not asked"} == {"none"}


def test_a_review_that_is_taken_back_leaves_nothing_behind(run, store):
    before = store.rows("SELECT id, games FROM facets ORDER BY id")
    for label in (H, S, H):
        reviews.add(run, "g-30", label)
    ingest(store, run.path)
    game = store.rows("SELECT f.review, f.games FROM games g JOIN facets f ON f.id = g.facet WHERE g.game = 'g-30'")
    assert game == [("Harmful", 1)]
    assert store.rows("SELECT sum(games) FROM facets") == [(50,)]
    with store.write():
        store.connection.execute("DELETE FROM reviews")
        store_truth.put_reviews(store, ID, ["g-30"])
    assert store.rows("SELECT id, games FROM facets ORDER BY id") == before


def test_it_does_not_matter_whether_reviews_or_games_come_first(run, store, tmp_path):
    review_all(run)
    ingest(store, run.path)
    games = run.games.rename(run.path / "away")
    with Store(tmp_path / "other.db") as other:
        ingest(other, run.path)
        games.rename(run.games)
        ingest(other, run.path)
        for table in ("facets", "facet_turns"):
            rows = f"SELECT * FROM {table} ORDER BY 1, 2"
            assert other.rows(rows) == store.rows(rows)


def test_the_page_tells_how_often_judge_and_assessor_were_wrong(run, store):
    review_all(run)
    ingest(store, run.path)
    shown = str(truths(store_truth.matrix(store, ID)))
    assert "25.0% (2 of 8)" in shown  # the judge on notes known to be harmful
    assert "38.5% (5 of 13)" in shown  # on notes known to be harmless, of the labels that it gave
    assert "53.3% (8 of 15)" in shown  # the assessor on harmful ones
    assert "38.1% (8 of 21)" in shown


def test_the_rates_of_a_step_are_what_was_counted_by_hand(store):
    assert store_judge_steps.rates(store, ID) == [
        JudgePoint(1, 36, 1 / 36, 4 / 36, 3 / 36, missed=11 / 23, flagged=3 / 17)
    ]  # fmt: skip
    assert judge_plots.judge(store, ID, -1)["abstained"] == [(1, 1 / 36)]
    assert judge_plots.assessor(store, ID, 1)["missed errors"] == []


def test_an_older_index_gets_the_same_rates(run, store, tmp_path):
    def sums():
        return store.rows("SELECT * FROM step_judge")

    new = sums()
    with store.write():
        store.connection.execute("DROP TABLE step_judge")
        store.connection.execute("DELETE FROM _sqlite_migrations WHERE name = 'step_judge'")
    with Store(store.path):
        assert sums() == new


def test_reviewed_notes_tell_how_probabilities_hold(run, store):
    review_all(run)
    ingest(store, run.path)
    found = calibration.bins(store_truth.of_reviews(store, ID))
    assert [(one.notes, one.harmful) for one in found] == [(10, 2), (0, 0), (1, 0), (0, 0), (11, 6)]


def test_bands_take_their_lower_border_and_the_last_one_both():
    found = calibration.bins([Believed(p, p > 0.5) for p in (0.0, 0.25, 0.5, 0.75, 1.0)], count=4)
    assert found == [
        Bin(0.0, 0.25, 1, 0, 0.0), Bin(0.25, 0.5, 1, 0, 0.25), Bin(0.5, 0.75, 1, 0, 0.5), Bin(0.75, 1.0, 2, 2, 0.875),
    ]  # fmt: skip
    assert calibration.shown({"reviews": [Believed(0.7, True)]}).count("<circle") == 3  # a lone band is seen too
    assert "Comes with a judge check" in calibration.shown({"judge check": []})


def test_the_command_checks_this_very_judge():
    config = resolve("cpu-demo", {"judge.kind": "http", "judge.model": "a b; $(c)", "judge.escalate": False, "seed": 7})
    words = shlex.split(judge_check.again(config))
    asked = resolved(parser().parse_args(words[3:]))
    assert (asked.judge, asked.device, asked.seed, asked.data) == (config.judge, config.device, 7, config.data)
