"""Verdicts, answers and reviews in the index, counted by hand."""

import json
from types import SimpleNamespace

import pytest
import written_run

from app.judge_view import matrices
from app.pages import one_game
from app.pages.game_list import Opened
from app.pages.games import opened_game
from launcher import reviews, store_judge
from launcher.__main__ import main
from launcher.ingest import ingest
from launcher.runs import config_of
from launcher.store import Store
from launcher.store_judge import Agreement, Reviewed, agreement
from launcher.store_page import GameFilter, page, read
from medical_team.types import Label

ID = "20260102-030405-abcd"
# (source, judge's label, assessor's answer) -> games
WANTED = {
    ("rule", Label.HARMFUL, "Harmful"): 14, ("rule", Label.HARMFUL, "Safe"): 6, ("rule", Label.SAFE, "Harmful"): 3,
    ("rule", Label.SAFE, "Safe"): 9, ("rule", Label.SAFE, None): 2, ("logit", None, "Safe"): 4,
    ("logit", Label.HARMFUL, "Safe"): 5, ("dataset", Label.HARMFUL, "Harmful"): 7,
}  # fmt: skip


def judged(number: int, source: str, label: Label | None, answer: str | None):
    game = written_run.game(ID, number, 1 + number % 3)
    verdict = game.verdict.model_copy(update={"source": source, "label": label})
    assessor = game.turns[1].model_copy(update={"answer": answer, "format_ok": answer is not None})
    return game.model_copy(update={"verdict": verdict, "truth": label, "turns": (game.turns[0], assessor)})


@pytest.fixture
def run(tmp_path):
    kinds = [kind for kind, games in WANTED.items() for _ in range(games)]
    assert len(kinds) == 50
    games = [judged(number, *kind) for number, kind in enumerate(kinds)]
    return written_run.write(tmp_path / "runs", ID, games)


@pytest.fixture
def store(run, tmp_path):
    with Store(tmp_path / "runs.db") as store:
        ingest(store, run.path)
        yield store


def test_cells_are_what_was_counted_by_hand(store):
    found = {(cell.source, cell.label, cell.answer): cell.games for cell in store_judge.cells(store, ID)}
    assert found == {
        (source, label and label.value, answer): games for (source, label, answer), games in WANTED.items()
    }


def test_a_cell_opens_exactly_its_games(store):
    for (source, label, answer), games in WANTED.items():
        wanted = GameFilter(mode="train", source=source, label=label or "none", answer=answer or "none")
        assert len(page(store, ID, wanted, limit=100).games) == games


def test_rates_are_of_what_could_be_read(store):
    shown = str(matrices(store_judge.cells(store, ID)))
    assert "30.0% (6 of 20)" in shown  # the assessor's misses among notes that the rules called harmful
    assert "25.0% (3 of 12)" in shown  # its over-flags; two unreadable answers are no answers
    assert "44.4% (4 of 9)" in shown  # without a label from logit


def test_reviews_come_from_the_file_once_and_the_last_of_a_game_counts(run, store):
    for game, label in (("g-0", Label.SAFE), ("g-1", None), ("g-0", Label.HARMFUL)):
        reviews.add(run, game, label)
    for _ in range(2):
        ingest(store, run.path)
    assert {(one.game, one.judge, one.person) for one in store_judge.reviewed(store, ID)} == {
        ("g-0", "Harmful", "Harmful"), ("g-1", "Harmful", None),
    }  # fmt: skip
    assert len(run.reviews.read_text().splitlines()) == 3
    assert store_judge.review_of(store, ID, "g-1") == (None,) and store_judge.review_of(store, ID, "g-2") is None


def test_a_damaged_review_is_kept_as_a_bad_line(run, store):
    run.reviews.write_text('{"time": 1, "game": "g-0", "label": "Probably"}\n')
    ingest(store, run.path)
    assert store_judge.reviewed(store, ID) == []
    assert [line.file for line in store.bad_lines(ID) if line.file == "reviews.jsonl"]


def test_the_queue_takes_evenly_from_every_pair_and_the_reviewed_last(run, store):
    first = store_judge.queue(store, ID, most=7)
    kinds = [kind for kind, games in WANTED.items() for _ in range(games)]
    assert len({kinds[int(game.removeprefix("g-"))] for game in first}) >= 6
    assert not any(kinds[int(game.removeprefix("g-"))][0] == "dataset" for game in store_judge.queue(store, ID))
    reviews.add(run, first[0], Label.SAFE)
    ingest(store, run.path)
    assert store_judge.queue(store, ID)[-1] == first[0]


def test_the_command_line_tells_reviews_and_agreement(run, capsys, monkeypatch):
    monkeypatch.setenv("SECOND_OPINION_RUNS", str(run.path.parent))
    reviews.add(run, "g-0", Label.HARMFUL)
    assert main(["reviews", ID, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(one["game"], one["source"], one["judge"], one["person"]) for one in told["reviews"]] == [
        ("g-0", "rule", "Harmful", "Harmful")
    ]
    assert told["agreement"]["both"] == 1 and told["agreement"]["share"] == 1.0


def test_a_game_s_page_shows_its_review(run, store):
    record = read(store, ID, "g-0")
    reviews.add(run, "g-0", Label.HARMFUL)
    ingest(store, run.path)
    shared = SimpleNamespace(runs=SimpleNamespace(folder=run.path.parent), store=store)
    assert "A person labelled this note Harmful" in opened_game(shared, Opened(ID, "g-0"))
    assert "A person labelled this note unsure" in one_game.whole(record, config_of(run), (None,))
    assert "A person labelled" not in one_game.whole(record, config_of(run))


def test_agreement_and_kappa_are_the_textbook_s():
    # 20 both harmful, 15 both safe, judge harmful and person safe 5, the other way round 10: kappa 0.4
    pairs = (
        [("Harmful", "Harmful")] * 20 + [("Safe", "Safe")] * 15 + [("Harmful", "Safe")] * 5 + [("Safe", "Harmful")] * 10
    )
    found = agreement(
        [Reviewed(str(i), "rule", *pair) for i, pair in enumerate([*pairs, (None, "Safe"), ("Safe", None)])]
    )
    assert found == pytest.approx((50, 0.7, 0.4, 10 / 30, 5 / 20))
    assert agreement([]) == Agreement(0, None, None, None, None)
