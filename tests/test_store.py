import json
import math
import sqlite3
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher import store_charts, store_games, store_health, store_judge_steps, store_page
from launcher.ingest import ingest
from launcher.store import BadLine, Event, Mark, MemoryPoint, Point, Process, Progress, Store
from launcher.store_games import Outcome
from launcher.store_page import GameFilter, LostGame, Sort
from medical_team.records import GameRecord
from medical_team.types import Category, Label, Role


def turn(role="assessor", raw_reward=2.0, answer="Safe", correct=True, format_ok=True, tokens=40):
    return {
        "seat": 0, "trained": True, "role": role, "prompt": "the prompt", "raw": f"<think> hm </think> {answer}",
        "thinking": "hm", "answer": answer, "format_ok": format_ok, "format_reason": "ok" if format_ok else "no answer",
        "tokens": tokens, "truncated": False, "latency_ms": 1.5, "correct": correct if role == "assessor" else None,
        "rewards": {"format": 1.0, "verdict": raw_reward - 1.0}, "raw_reward": raw_reward, "baseline": 0.0,
        "sent_reward": raw_reward,
    }  # fmt: skip


def verdict(label="Safe", faithful=None, reason="ok", source="dataset", rationale=None):
    return {
        "label": label, "p_harm": None, "same_meaning": None, "faithful": faithful, "realistic": None, "p_realistic": None,
        "valid": label is not None, "reason": reason, "source": source, "rationale": rationale, "raw": None,
        "latency_ms": 0.5, "judge": "reference 1",
    }  # fmt: skip


def game(name="g1", step=1, **changes):
    """A vanilla game that both assessors won, as a value for JSON; with `changes`."""
    value = {
        "schema_version": 1, "run": "run", "attempt": 1, "game": name, "sample": "s1", "case": "c1", "mode": "train",
        "step": step, "category": "vanilla_benign", "error_type": "dosage", "opponent": "self", "seed_note": "The note.",
        "clean_note": "The note.", "note": "The note.", "turns": [turn(), turn()], "verdict": verdict(),
        "attack_verdict": None, "truth": "Safe", "valid": True, "drop_reason": None, "started": 10.0, "ended": 11.0,
    }  # fmt: skip
    return value | changes


ATTACK = turn("attacker", 1.0, "Forged note.")


def attacked(name, step=1, *, deceived=False, faithful=True, attacker=1.0, assessor=2.0, **changes):
    """An adversarial game on a harmful note."""
    turns = [
        ATTACK | {"raw_reward": attacker, "sent_reward": attacker},
        turn("assessor", assessor, "Harmful", correct=not deceived),
    ]
    more = {"category": "adversarial_harmful", "note": "Forged note.", "turns": turns, "truth": "Harmful"}
    return game(name, step, **more, verdict=verdict("Harmful", faithful, source="logit"), **changes)


TIE = {"truth": None, "valid": False, "verdict": verdict(None, reason="abstain"), "drop_reason": "tie: abstain"}


def write_games(folder, games, name="games/1-7.jsonl"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in games)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text('{"id": "run", "created": 5.0}')
    return folder


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "runs.db") as store:
        yield store


def names(page):
    return [row.game for row in page.games]


def shown(store, *, sort=Sort.NEWEST, **wanted):
    return names(store_page.page(store, "run", GameFilter(**wanted), sort))


# runs, metrics, events, memory


def test_values_that_are_not_finite_come_back_as_they_were(store):
    with store.write():
        store.add_metrics("run", [(1, {"kl": math.nan, "a": math.inf}), (2, {"kl": 0.1, "a": -math.inf})])
    kl = store.series("run", "kl")
    assert math.isnan(kl[0].value) and kl[1] == Point(2, 0.1)
    assert store.series("run", "a") == [(1, math.inf), (2, -math.inf)]
    assert store.rows("SELECT value, special FROM metrics WHERE name = 'kl' AND step = 1") == [(None, "nan")]


def test_a_step_that_is_made_again_replaces_its_values(store):
    with store.write():
        store.add_metrics("run", [(1, {"kl": 0.1}), (2, {"kl": 0.2})])
        store.add_metrics("run", [(2, {"kl": 0.3})])
        store.add_metrics("other", [(2, {"b": 1.0})])
    assert store.series("run", "kl") == [(1, 0.1), (2, 0.3)]
    assert store.series("run", "kl", since=1) == [(2, 0.3)]
    assert store.metric_names("run") == ["kl"]
    assert store.metric_names("nobody") == store.series("nobody", "kl") == []


def test_evaluations_are_the_metrics_whose_names_say_so(store):
    with store.write():
        store.add_metrics("run", [(2, {"eval_a_pass1": 0.5, "evaluate": 1.0}), (4, {"eval_a_pass1": math.nan})])
    first, second = store.evals("run")
    assert first == ("eval_a_pass1", 2, 0.5)
    assert second.step == 4 and math.isnan(second.value)


def test_progress_is_the_newest_starts(store):
    assert store.progress("run") == Progress(1, "loading", 0, None, None, None, None)
    with store.write():
        store.put_progress("run", Progress(1, "training", 0, 1, 2, 8, 32), 8)
        assert store.progress("run") == Progress(1, "training", 8, 1, 2, 8, 32)
        store.put_progress("run", Progress(2, "loading", 0, None, None, None, None), None)
    assert store.progress("run") == Progress(2, "loading", 0, None, None, None, None)


def test_events_with_a_time_come_first(store):
    early, late = (Event("events.jsonl", offset, time, "stop", "info", "x") for offset, time in ((0, 1.0), (50, 2.0)))
    logged = Event("train.log", 10, None, "checkpoint", "info", "saved best_global_step2")
    with store.write():
        store.add_events("run", [logged, late, early])
    assert store.events("run") == [early, late, logged]
    assert store.events("run", since=1.0) == [late, logged]


def test_memory_comes_back_by_role(store):
    held = (Process(1, "ray::PolicyModelActor", "policy", 10.0), Process(2, "raylet", "ray", 5.0))
    point = MemoryPoint(1.0, "training", "pss", 15.0, {"policy": 10.0, "ray": 5.0}, held)
    with store.write():
        store.add_memory("run", [(0, point)])
    (found,) = store.memory("run")
    assert found._replace(roles=None) == point._replace(roles=None)
    assert {role: mb for role, mb in found.roles.items() if mb} == point.roles
    assert store.memory("run", since=1.0) == []


def test_a_failed_write_leaves_nothing(store):
    with pytest.raises(ZeroDivisionError), store.write():
        store.move("run", "train.log", Mark(5, 1, None))
        1 / 0  # noqa: B018
    assert store.mark("run", "train.log") == Mark(0, 0, None)


def test_bad_lines_are_listed_and_counted(store):
    with store.write():
        store.add_bad_lines("run", [BadLine("train.log", 7, "why", "text"), BadLine("games/a.jsonl", 0, "why", "")])
        store.add_bad_lines("run", [BadLine("train.log", 7, "why", "text")])
    assert store.count_bad_lines("run") == {"train.log": 1, "games/a.jsonl": 1}
    assert store.bad_lines("run", limit=1) == [BadLine("games/a.jsonl", 0, "why", "")]


def test_readers_see_the_last_commit_while_a_writer_writes(store):
    done = []
    with store.write():
        store.add_metrics("run", [(1, {"kl": 0.1})])
        reader = threading.Thread(target=lambda: done.append(store.series("run", "kl")))
        reader.start()
        reader.join(5)
    assert done == [[]]
    assert store.series("run", "kl") == [(1, 0.1)]


def test_a_database_that_is_no_database_is_set_aside(tmp_path):
    path = tmp_path / "runs.db"
    path.write_text("this is a note, not a database" * 100)
    with Store(path) as store:
        assert store.runs() == [] and store.damage() is None
    assert [one.read_text()[:14] for one in tmp_path.glob("runs.db.damaged-*")] == ["this is a note"]


def test_an_index_that_was_deleted_and_made_again_is_read_by_who_had_the_old_one_open(tmp_path):
    path = tmp_path / "runs.db"
    with Store(path) as watching:
        assert watching.runs() == []
        before = watching.revision()
        for file in tmp_path.glob("runs.db*"):
            file.unlink()
        write_games(tmp_path / "runs" / "run", [game("g")])
        with Store(path) as other:
            ingest(other, tmp_path / "runs" / "run")
        assert [row.id for row in watching.runs()] == ["run"] and watching.revision() != before


# how games went


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (game(), Outcome.RIGHT),
        (game(turns=[turn(correct=False), turn(correct=False)]), Outcome.WRONG),
        (game(turns=[turn(correct=False), turn()]), Outcome.SPLIT),
        (game(**TIE), Outcome.DROPPED),
        (game(**TIE | {"drop_reason": None}), Outcome.TIE),
        (attacked("g"), Outcome.ASSESSOR),
        (attacked("g", deceived=True), Outcome.ATTACKER),
        (attacked("g") | {"turns": [ATTACK, turn(answer=None, correct=False)]}, Outcome.UNREADABLE),
        (attacked("g") | {"turns": [ATTACK, turn(answer="Perhaps", correct=False)]}, Outcome.UNREADABLE),
        (attacked("g", faithful=False), Outcome.UNFAITHFUL),
        (attacked("g") | {"verdict": verdict("Harmful")}, Outcome.REFUSED),
        (game(turns=[], **TIE | {"drop_reason": "error: boom", "verdict": None}), Outcome.DROPPED),
    ],
)
def test_outcomes(record, expected):
    assert store_games.outcome(GameRecord.model_validate(record)) is expected


# charts


def test_rewards_and_rates_of_a_step_by_hand(store, folder):
    write_games(folder, [
        attacked("a", deceived=True, attacker=3.0, assessor=0.0),
        attacked("b", attacker=0.5, assessor=2.0),
        attacked("c", faithful=False, attacker=-2.0, assessor=2.0),
        game("d", turns=[turn(raw_reward=0.5, format_ok=False, tokens=20), turn(raw_reward=2.0, correct=False)]),
        game("e", **TIE),
        game("f", mode="eval", step=1),
    ])  # fmt: skip
    ingest(store, folder)
    assert store_charts.rewards(store, "run", Role.ATTACKER) == [(1, 3, 0.5, 1.0, 40.0)]
    (assessor,) = store_charts.rewards(store, "run", Role.ASSESSOR)
    assert assessor == (1, 5, 6.5 / 5, 0.8, 36.0)
    assert store_charts.rewards(store, "run", Role.ASSESSOR, Category.VANILLA_BENIGN)[0].mean_reward == 1.25
    assert store_charts.rewards(store, "run", Role.ATTACKER, Category.VANILLA_BENIGN) == []
    assert store_charts.rewards(store, "run", Role.ATTACKER, since=1) == []
    (rates,) = store_charts.rates(store, "run")
    assert rates == (1, 5, 4, 1 / 5, 2 / 3, 1 / 2, 3 / 5)
    (vanilla,) = store_charts.rates(store, "run", Category.VANILLA_BENIGN)
    assert vanilla == (1, 2, 1, 1 / 2, None, None, 1 / 2)
    assert store_charts.counts(store, "run") == {
        ("train", "adversarial_harmful"): 3, ("train", "vanilla_benign"): 2, ("eval", "vanilla_benign"): 1,
    }  # fmt: skip


def test_the_mean_of_the_games_shown_is_the_point(store, folder):
    rewards = [0.1, 0.2, 0.3, -0.7, 1 / 3]
    write_games(folder, [attacked(f"g{n}", n % 2, attacker=value) for n, value in enumerate(rewards)])
    ingest(store, folder)
    for point in store_charts.rewards(store, "run", Role.ATTACKER):
        games = store_page.page(store, "run", GameFilter(step=point.step, counted=True)).games
        listed = [turn.raw_reward for game in games for turn in game.turns if turn.role == "attacker"]
        assert point.mean_reward == pytest.approx(math.fsum(listed) / len(listed), abs=1e-12)
        assert point.turns == len(listed)


def frozen(one, role):
    """The game with a frozen model in this seat."""
    turns = [turn | {"trained": turn["trained"] and turn["role"] != role} for turn in one["turns"]]
    return one | {"opponent": "/start", "turns": turns}


def test_rates_of_a_role_are_of_its_trained_seats(store, folder):
    """Two attacks on a frozen assessor that is deceived, and one by a frozen attacker that is seen through."""
    games = [frozen(attacked("a", deceived=True), "assessor"), frozen(attacked("b", deceived=True), "assessor"),
             frozen(attacked("c"), "attacker"), frozen(attacked("d", faithful=False), "attacker")]  # fmt: skip
    write_games(folder, games)
    ingest(store, folder)
    (point,) = store_charts.rates(store, "run")
    assert (point.games, point.counted, point.faithful, point.deceived, point.correct) == (4, 4, 1.0, 1.0, 1.0)
    (judged,) = store_judge_steps.rates(store, "run")
    assert (judged.asked, judged.missed) == (4, 0.0)
    (step,) = store_health.steps(store, "run", 1, 1)
    assert (step.answers, step.harmful, step.attacked, step.faithful, step.deceived) == (2, 2, 2, 2, 2)
    for role in Role:
        (mean,) = store_charts.rewards(store, "run", role)
        listed = store_page.page(store, "run", GameFilter(step=1, role=role, counted=True)).games
        turns = [turn for row in listed for turn in store_page.read(store, "run", row.game).turns]
        found = [turn.raw_reward for turn in turns if turn.role is role and turn.trained]
        assert (mean.turns, mean.mean_reward) == (len(found), math.fsum(found) / len(found))


def test_only_the_last_start_of_a_step_counts(store, folder):
    write_games(folder, [attacked("1-a", 6, attacker=9.0), game("1-b", 6), attacked("1-c", 7, attacker=5.0)])
    ingest(store, folder)
    write_games(folder, [attacked("2-a", 6, attacker=1.0, attempt=2)], "games/2-8.jsonl")
    ingest(store, folder)
    assert [(point.step, point.mean_reward) for point in store_charts.rewards(store, "run", Role.ATTACKER)] == [
        (6, 1.0),
        (7, 5.0),
    ]
    assert store_charts.rewards(store, "run", Role.ASSESSOR, Category.VANILLA_BENIGN) == []
    assert shown(store, step=6, counted=True) == ["2-a"]
    assert sorted(shown(store, step=6)) == ["1-a", "1-b", "2-a"]


def test_the_trainers_means_are_set_against_the_games(store, folder):
    write_games(folder, [attacked("a", 1, attacker=0.25), attacked("b", 2, attacker=0.25), game("c", 3)])
    ingest(store, folder)
    with store.write():
        store.add_metrics("run", [
            (1, {"attacker_raw": 0.125, "is_attacker": 0.5, "assessor_raw": 1.0, "is_assessor": 0.5}),
            (2, {"attacker_raw": 0.2, "is_attacker": 0.5}),
            (3, {"attacker_raw": 0.0, "is_attacker": 0.0}),
        ])  # fmt: skip
    found = store_charts.reward_agreement(store, "run")
    assert [(one.step, one.role, one.agree) for one in found] == [
        (1, "assessor", True), (1, "attacker", True), (2, "attacker", False), (3, "attacker", True),
    ]  # fmt: skip
    assert found[2][2:] == (0.25, 0.4)
    assert found[3][2:] == (None, None)


# the page of games


@pytest.fixture
def games(store, folder):
    """Six games: a and b attacked, c refused by a gate, d and e vanilla, t a tie."""
    write_games(folder, [
        attacked("a", 1, attacker=3.0, assessor=-2.0, deceived=True), attacked("b", 2, attacker=-0.5),
        attacked("c", 3, attacker=-1.5) | {
            "verdict": verdict("Harmful"), "attack_verdict": verdict(None, False, "gate_length", "gate", "far too long"),
        },
        game("d", 4, note="Metoprolol 25 mg daily — naïve patient.", turns=[turn(raw_reward=2.0), turn(raw_reward=-2.0)]),
        game("e", 5, mode="eval", turns=[turn(answer="maybe", correct=False, raw_reward=0.0)]), game("t", 6, **TIE),
    ])  # fmt: skip
    ingest(store, folder)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "tedcba"),
        ({"step": 3}, "c"),
        ({"first_step": 2, "last_step": 4}, "dcb"),
        ({"mode": "eval"}, "e"),
        ({"category": Category.ADVERSARIAL_HARMFUL}, "cba"),
        ({"role": Role.ATTACKER}, "cba"),
        ({"outcome": Outcome.ATTACKER}, "a"),
        ({"outcome": Outcome.REFUSED}, "c"),
        ({"label": Label.HARMFUL}, "cba"),
        ({"label": "none"}, "t"),
        ({"source": "logit"}, "ba"),
        ({"reason": "gate_length"}, "c"),
        ({"reason": "abstain"}, "t"),
        ({"reason": "timeout"}, ""),
        ({"answer": Label.HARMFUL}, "cba"),
        ({"answer": "none"}, "e"),
        ({"lowest": 2.5}, "a"),
        ({"highest": -2.0}, "da"),
        ({"role": Role.ATTACKER, "highest": -1.0}, "c"),
        ({"lowest": -0.5, "highest": 0.0}, "eb"),
        ({"counted": True}, "dcba"),
        ({"counted": True, "mode": "eval"}, ""),
        ({"text": "metoprolol"}, "d"),
        ({"text": "forged", "source": "logit"}, "ba"),
        ({"text": '"too long"'}, "c"),
        ({"text": '"long too"'}, ""),
        ({"text": "naive 25"}, "d"),
        ({"text": "forged", "step": 2}, "b"),
        ({"text": "nowhere"}, ""),
        ({"text": '"" -- *'}, ""),
    ],
)
def test_filters(store, games, wanted, expected):
    assert "".join(shown(store, **wanted)) == expected


def test_orders_and_pages(store, games):
    assert "".join(shown(store, sort=Sort.OLDEST)) == "abcdet"
    assert "".join(shown(store, sort=Sort.HIGHEST)) == "atdcbe"
    assert "".join(shown(store, sort=Sort.LOWEST, role=Role.ATTACKER)) == "cba"
    assert "".join(shown(store, sort=Sort.HIGHEST, text="forged")) == "acb"
    first = store_page.page(store, "run", limit=4)
    second = store_page.page(store, "run", limit=4, offset=4)
    assert (names(first), first.more, first.total) == (["t", "e", "d", "c"], True, 6)
    assert (names(second), second.more, second.total) == (["b", "a"], False, 6)
    assert store_page.page(store, "run", GameFilter(text="note")).total is None


def test_a_row_says_what_the_page_needs(store, games):
    (row,) = store_page.page(store, "run", GameFilter(step=3)).games
    assert (row.outcome, row.truth, row.label, row.reason, row.refused) == (
        "refused",
        "Harmful",
        "Harmful",
        "ok",
        "gate_length",
    )
    assert row.excerpt == "Forged note."
    assert row.turns == ((0, "attacker", None, True, None, -1.5), (1, "assessor", "Harmful", True, True, 2.0))


def test_a_game_is_read_back_whole(store, games):
    for name in "abcdet":
        record = store_page.read(store, "run", name)
        assert record.game == name
    assert store_page.read(store, "run", "c").attack_verdict.rationale == "far too long"


def test_a_game_that_is_gone_is_an_error(store, folder, games):
    with pytest.raises(LostGame, match="no game 'x'"):
        store_page.read(store, "run", "x")
    path = folder / "games/1-7.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[1].replace(b'"b"', b'"b" ', 1), *lines[1:]]))
    with pytest.raises(LostGame, match="no longer at byte|has game 'b' now"):
        store_page.read(store, "run", "a")


def test_one_runs_text_is_not_found_in_another(store, folder, games, tmp_path):
    other = tmp_path / 'an "other" run'
    write_games(other, [game("x", note="Metoprolol.")])
    ingest(store, other)
    assert names(store_page.page(store, other.name, GameFilter(text="metoprolol"))) == ["x"]
    assert shown(store, text="metoprolol") == ["d"]


def test_a_forgotten_run_leaves_no_row(store, folder, games):
    with store.write():
        store_games.forget(store, "run")
    tables = [
        name
        for (name,) in store.rows(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\'"
        )
    ]
    assert not [table for table in tables if table.startswith("search")]
    assert {table: store.rows(f"SELECT count(*) FROM {table}") for table in tables} == dict.fromkeys(tables, [(0,)])
    ingest(store, folder)
    assert "".join(shown(store)) == "tedcba"


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(max_size=30), st.text("\"*-+^:(){}[]NEAR AND OR NOT \0'%_,", max_size=20)))
def test_no_search_text_is_a_syntax_error(text):
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE words USING fts5 (note)")
    connection.execute("INSERT INTO words VALUES (?)", (text,))
    words = store_page.quoted(text)
    found = connection.execute("SELECT * FROM words WHERE words MATCH ?", (words,)).fetchall() if words else []
    connection.close()
    assert len(found) <= 1
    if text.isascii() and text.isalnum():
        assert found == [(text,)]


# the same, where there are too many games to look at each

MANY = 22_000


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A run of 22,000 games, and the games as values, newest first. Most have a common word, one of 4,000 a rare one."""
    folder = tmp_path_factory.mktemp("many") / "run"
    folder.mkdir()
    made = []
    for n in range(MANY):
        note = f"note {'often' if n % 25 else ''} {'seldom' if n % 4000 == 5 else ''}"
        made.append(
            attacked(f"g{n}", n // 10, deceived=n % 3 == 0, attacker=n % 5 - 2.0, assessor=0.0) | {"note": note}
            if n % 2
            else game(f"g{n}", n // 10, note=note, turns=[turn(raw_reward=1.0)] * 2)
        )
        if n % 5000 == 7:
            made[-1] |= TIE
    write_games(folder, made)
    with Store(folder.parent / "runs.db") as store:
        ingest(store, folder)
        yield store, made[::-1]


def won(one):
    first, second = one["turns"]
    return first["role"] == "attacker" and not second["correct"] and not one["drop_reason"]


@pytest.mark.parametrize(
    ("wanted", "keeps"),
    [
        ({}, lambda one: True),
        ({"outcome": Outcome.DROPPED}, lambda one: one["drop_reason"]),
        ({"counted": True}, lambda one: not one["drop_reason"]),
        ({"category": Category.VANILLA_BENIGN}, lambda one: one["category"] == "vanilla_benign"),
        ({"category": Category.ADVERSARIAL_BENIGN}, lambda one: False),
        ({"role": Role.ATTACKER, "lowest": 2.0}, lambda one: one["turns"][0]["raw_reward"] == 2.0),
        ({"first_step": 50, "last_step": 60}, lambda one: 50 <= one["step"] <= 60),
        ({"first_step": 50}, lambda one: one["step"] >= 50),
        ({"outcome": Outcome.ATTACKER, "step": 77}, lambda one: won(one) and one["step"] == 77),
    ],
)
@pytest.mark.parametrize("text", ["", "often", "seldom", "often seldom", "absent"])
@pytest.mark.parametrize("sort", Sort)
def test_a_page_of_many_games_is_what_going_through_all_would_give(many, wanted, keeps, text, sort):
    store, made = many
    kept = [one for one in made if keeps(one) and all(word in one["note"].split() for word in text.split())]
    if sort is Sort.OLDEST:
        kept.reverse()
    if sort in (Sort.HIGHEST, Sort.LOWEST):
        role = wanted.get("role")
        sign = -1 if sort is Sort.HIGHEST else 1
        kept.sort(
            key=lambda one: sign * max(turn["raw_reward"] for turn in one["turns"] if role in (None, turn["role"]))
        )
    page = store_page.page(store, "run", GameFilter(**wanted, text=text), sort, limit=30, offset=40)
    assert names(page) == [one["game"] for one in kept[40:70]]
    assert page.more is (len(kept) > 70)
    assert page.total in (None, len(kept))
    first = store_page.page(store, "run", GameFilter(**wanted, text=text), sort, limit=20)
    assert names(first) == [one["game"] for one in kept[:20]]


def test_a_frozen_opponent_is_in_no_role_chart(store, folder):
    frozen = attacked("g1")
    frozen["turns"][1]["trained"] = False
    write_games(folder, [frozen])
    ingest(store, folder)
    assert [point.mean_reward for point in store_charts.rewards(store, "run", Role.ATTACKER)] == [1.0]
    assert store_charts.rewards(store, "run", Role.ASSESSOR) == []


def test_what_the_trainer_does_not_tell_is_left_open(store, folder):
    untold = {"tokens": None, "truncated": None, "latency_ms": None}
    write_games(folder, [game("g1", turns=[turn() | untold]), game("g2", category="vanilla_harmful", turns=[turn()])])
    assert ingest(store, folder).bad == 0
    (point,) = store_charts.rewards(store, "run", Role.ASSESSOR)
    assert (point.turns, point.mean_tokens) == (2, None)
