import json
import shutil
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_store import TIE, attacked, game, turn, verdict, write_games

from launcher import store_charts, store_page
from launcher.ingest import Ingested, ingest, ingest_all
from launcher.store import Store
from launcher.store_page import GameFilter
from medical_team.records import GameRecord
from medical_team.types import Role

RECORDED = Path(__file__).parent / "recorded"
LOGS = sorted(path.name for path in RECORDED.glob("*.log"))
TABLES = (
    "offsets",
    "bad_lines",
    "metrics",
    "progress",
    "failures",
    "events",
    "memory",
    "step_roles",
    "step_games",
    "step_ends",
    "runs",
)
MEMORY = {
    "time": 1.0, "phase": "training", "total_mb": 15.0, "source": "pss",
    "processes": [
        {"pid": 1, "name": "ray::PolicyModelActor", "role": "policy", "mb": 6.0},
        {"pid": 2, "name": "ray::PolicyModelActor", "role": "policy", "mb": 4.0},
        {"pid": 3, "name": "raylet", "role": "ray", "mb": 5.0},
    ],
}  # fmt: skip
EVENT = {"time": 2.0, "kind": "started", "level": "info", "text": "trainer 7, attempt 1"}


@pytest.fixture
def folder(tmp_path):
    return new_run(tmp_path)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "runs.db") as store:
        yield store


def new_run(runs, name="run"):
    folder = runs / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"id": name, "name": "first", "preset": "cpu-demo", "created": 5.0}))
    return folder


def everything(store):
    """Every row but the ids that join games to their turns, verdicts and words."""
    rows = {table: sorted(store.rows(f"SELECT * FROM {table}"), key=repr) for table in TABLES}
    order = "ORDER BY g.run, g.game"
    rows["games"] = [row[1:] for row in store.rows(f"SELECT * FROM games g {order}")]
    rows["facets"] = store.rows(
        "SELECT * FROM facets f LEFT JOIN facet_turns t ON t.facet = f.id ORDER BY f.id, t.seat"
    )
    for table, key in (("turns", "seat"), ("verdicts", "refused")):
        sql = f"SELECT g.run, g.game, x.* FROM {table} x JOIN games g ON g.id = x.game {order}, x.{key}"
        rows[table] = [row[:2] + row[3:] for row in store.rows(sql)]
    return rows


def ingested(runs, times=1):
    with Store(runs / "runs.db") as store:
        counts = [ingest_all(store, runs) for _ in range(times)]
        return everything(store), counts


def append(path, data):
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        file.write(data)


# once, and all of it


def test_a_run_of_every_kind_of_file(store, folder):
    state = {"state": "running", "phase": "training", "step": 3, "steps": 60, "attempts": [0, 2], "started": 6.0}
    (folder / "state.json").write_text(json.dumps(state | {"ended": None, "more": [1]}))
    shutil.copy(RECORDED / "cpu-selfplay-with-eval.log", folder / "train.log")
    write_games(folder, [game("a"), attacked("b"), game("c", **TIE)])
    append(folder / "memory.jsonl", json.dumps(MEMORY).encode() + b"\n")
    append(folder / "events.jsonl", json.dumps(EVENT).encode() + b"\n")
    assert ingest(store, folder) == Ingested(metrics=5 * 41 + 2 * 9, games=3, memory=1, events=2, bad=0)
    (run,) = store.runs()
    assert (run.id, run.name, run.preset, run.created, run.start_step) == ("run", "first", "cpu-demo", 5.0, 2)
    assert (run.state, run.phase, run.step, run.steps, run.started, run.ended) == (
        "running",
        "training",
        3,
        60,
        6.0,
        None,
    )
    assert json.loads(run.config)["preset"] == "cpu-demo"
    assert [point.step for point in store.series("run", "reward")] == [1, 2, 3, 4, 5]
    assert len(store.evals("run")) == 18
    assert store.progress("run") == (1, "ending", 5, 1, 1, 40, 40)
    assert [event.kind for event in store.events("run")] == ["started", "checkpoint"]
    assert store.memory("run")[0].roles["policy"] == 10.0
    assert [process.pid for process in store.memory("run")[0].processes] == [1, 2, 3]
    assert [row.game for row in store_page.page(store, "run").games] == ["c", "b", "a"]


@pytest.mark.parametrize("name", LOGS)
def test_ingesting_again_adds_nothing_and_rebuilding_gives_the_same(tmp_path, name):
    folder = new_run(tmp_path)
    shutil.copy(RECORDED / name, folder / "train.log")
    write_games(folder, [attacked(f"g{n}", n // 3, attacker=n / 7) for n in range(20)])
    first, (new, again) = ingested(tmp_path, times=2)
    assert new.games == 20 and new.bad == 0
    assert again == Ingested()
    for path in tmp_path.glob("runs.db*"):
        path.unlink()
    assert ingested(tmp_path)[0] == first


def test_the_last_error_of_a_recorded_log(store, folder):
    shutil.copy(RECORDED / "h100-3b-lora-weight-sync-error.log", folder / "train.log")
    ingest(store, folder)
    assert store.failure("run").summary.startswith("Exception: Call to collective_rpc method failed")
    assert [failure.process for failure in store.failures("run")] == [
        "", "(RolloutRayActor pid=28787) (EngineCore pid=29164) ERROR 11-22 13:43:14 [core.py:1365]",
    ]  # fmt: skip


def test_a_resumed_run_goes_on_in_a_log_of_its_own(store, folder):
    shutil.copy(RECORDED / "h100-3b-oom.log", folder / "train.log")
    shutil.copy(RECORDED / "h100-tiny-4-steps.log", folder / "train-2.log")
    (folder / "training.log").write_text("something else\n")
    ingest(store, folder)
    assert store.progress("run")[:3] == (2, "saving", 4)
    assert store.failure("run") is None
    assert [failure.attempt for failure in store.failures("run")] == [1]
    assert set(store.marks("run")) == {"train.log", "train-2.log"}


def test_state_is_taken_whenever_it_changes(store, folder):
    ingest(store, folder)
    assert store.run("run").state is None
    for state in ("running", "done"):
        (folder / "state.json").write_text(json.dumps({"state": state, "reason": "because"}))
        ingest(store, folder)
        assert store.run("run").state == state
    (folder / "state.json").write_text('{"state": 5}')
    assert ingest(store, folder).bad == 1
    assert ingest(store, folder).bad == 0
    assert store.run("run").state is None


# files that grow, and files that are cut


@pytest.mark.parametrize("name", LOGS)
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_a_log_cut_anywhere_gives_the_rows_of_the_whole(name, data):
    content = (RECORDED / name).read_bytes()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=4)))
    with TemporaryDirectory() as whole, TemporaryDirectory() as parts:
        append(new_run(Path(whole)) / "train.log", content)
        folder = new_run(Path(parts))
        for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
            append(folder / "train.log", content[start:end])
            ingested(Path(parts))
        assert without_folder(ingested(Path(parts))[0]) == without_folder(ingested(Path(whole))[0])


NASTY = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        ["\u2028", "two\u2029 lines\x85", "\x00 NUL", "🩺 10 mg", "<img onerror=x>", "\x1b[31m", "}\n{", "ü" * 9000]
    ),
)


@st.composite
def records(draw):
    made = []
    for number in range(draw(st.integers(1, 6))):
        note, answer = draw(NASTY), draw(NASTY)
        kind = draw(st.sampled_from([game, attacked]))
        rewards = [draw(st.floats(-5, 5)), draw(st.sampled_from([0.1, 0.2, -2.0]))]
        roles = ["attacker" if kind is attacked else "assessor", "assessor"]
        turns = [turn(role, reward, answer) for role, reward in zip(roles, rewards, strict=True)]
        tie = TIE if draw(st.booleans()) else {}
        value = kind(f"g{number}", draw(st.integers(1, 3))) | {
            "note": note,
            "turns": turns,
            "attempt": draw(st.integers(1, 2)),
        }
        if draw(st.booleans()):
            value["attack_verdict"] = verdict(None, False, "gate_text", "gate", draw(NASTY))
        made.append(value | tie)
    return made


@settings(deadline=None, max_examples=40)
@given(made=records(), escape=st.booleans(), data=st.data())
def test_a_games_file_cut_anywhere_gives_the_rows_of_the_whole(made, escape, data):
    content = b"".join(json.dumps(one, ensure_ascii=escape).encode() + b"\n" for one in made)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=4)))
    with TemporaryDirectory() as whole, TemporaryDirectory() as parts:
        append(new_run(Path(whole)) / "games/1-7.jsonl", content)
        folder = new_run(Path(parts))
        for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
            append(folder / "games/1-7.jsonl", content[start:end])
            ingested(Path(parts))
        assert without_folder(ingested(Path(parts))[0]) == without_folder(ingested(Path(whole))[0])
        with Store(Path(parts) / "runs.db") as store:
            assert store.count_bad_lines("run") == {}
            for one in made:
                assert store_page.read(store, "run", one["game"]) == GameRecord.model_validate(one)


def without_folder(rows):
    return rows | {"runs": [row[:1] + row[2:] for row in rows["runs"]]}


def test_the_order_of_two_writers_does_not_matter(tmp_path):
    results = []
    for order in (("1-7", "1-8"), ("1-8", "1-7")):
        runs = tmp_path / "".join(order)
        runs.mkdir()
        folder = new_run(runs)
        for writer in order:
            games = [
                attacked(f"{writer}-{n}", n // 4, attacker=0.7 * n + 0.3 if writer == "1-7" else 1e16)
                for n in range(12)
            ]
            write_games(folder, games, f"games/{writer}.jsonl")
            ingested(runs)
        results.append(without_folder(ingested(runs)[0]))
    assert results[0] == results[1]


def test_a_shortened_file_is_reported_once_and_read_no_further(store, folder):
    write_games(folder, [game("a"), game("b")])
    ingest(store, folder)
    (folder / "games/1-7.jsonl").write_bytes(b"{}\n")
    assert [ingest(store, folder).bad for _ in range(2)] == [1, 0]
    (line,) = store.bad_lines("run")
    assert "has 3 bytes" in line.reason
    assert len(store_page.page(store, "run").games) == 2


# lines that cannot be used


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "EOF"),
        (b"no json", "expected"),
        (b"\xff\xfe", "expected"),
        (json.dumps(game() | {"note": "x"}).encode().replace(b'"x"', b'"\xff"'), "unicode"),
        (b"[1]", "object"),
        (json.dumps(game() | {"new": 1}).encode(), "new: Extra inputs"),
        (
            json.dumps({name: value for name, value in game().items() if name != "truth"}).encode(),
            "truth: Field required",
        ),
        (json.dumps(game() | {"category": "other"}).encode(), "category: "),
        (json.dumps(game(step=10**30)).encode(), "no number to store"),
        (json.dumps(game(turns=[turn(raw_reward=float("nan"))])).encode(), "no number to store"),
        (json.dumps(game(ended=float("inf"))).encode(), "no number to store"),
        (json.dumps(game("good")).encode(), "recorded before"),
    ],
)
def test_a_line_that_is_no_game_is_counted_and_the_rest_is_read(store, folder, line, reason):
    write_games(folder, [game("good")])
    append(folder / "games/1-7.jsonl", line + b"\n")
    write_games(folder, [game("after")])
    assert ingest(store, folder) == Ingested(games=2, bad=1)
    (bad,) = store.bad_lines("run")
    assert bad.offset == len(json.dumps(game("good"))) + 1
    assert reason.lower() in bad.reason.lower()
    assert [row.game for row in store_page.page(store, "run").games] == ["after", "good"]


def test_bad_lines_of_the_other_files(store, folder):
    append(
        folder / "memory.jsonl",
        json.dumps(MEMORY | {"source": "rss"}).encode() + b"\n" + json.dumps(MEMORY).encode() + b"\n",
    )
    append(folder / "events.jsonl", b'{"time": NaN, "kind": "a", "level": "info", "text": ""}\n')
    append(folder / "train.log", b"first\n\xff\nINFO 11-22 13:52:04 ppo_trainer.py:551] Global step 3: {'a': 1, 'b\n")
    assert ingest(store, folder) == Ingested(memory=1, bad=4)
    assert store.count_bad_lines("run") == {"events.jsonl": 1, "memory.jsonl": 1, "train.log": 2}
    assert [line.reason for line in store.bad_lines("run") if line.file == "train.log"] == [
        "not UTF-8", "step 3: not a whole dictionary of numbers",
    ]  # fmt: skip


def test_a_torn_last_line_waits_until_the_end(store, folder):
    write_games(folder, [game("a")])
    append(folder / "games/1-7.jsonl", json.dumps(game("b")).encode()[:50])
    assert ingest(store, folder) == Ingested(games=1)
    assert [ingest(store, folder, finish=True).bad for _ in range(2)] == [1, 0]
    assert store.bad_lines("run")[0].reason.startswith("torn")
    append(folder / "games/1-7.jsonl", json.dumps(game("b")).encode()[50:] + b"\n")
    assert ingest(store, folder, finish=True) == Ingested(games=1)
    assert store.bad_lines("run") == []


# several ingesters


def take_until_told(runs, ready, found):
    total = Ingested()
    with Store(runs / "runs.db") as store:
        ready.put(1)
        while not (runs / "stop").exists():
            total += ingest_all(store, runs)
        found.put(total + ingest_all(store, runs))


def test_ingesters_at_once_take_every_line_once(tmp_path):
    folder = new_run(tmp_path)
    context = get_context("spawn")
    ready, found = context.Queue(), context.Queue()
    processes = [context.Process(target=take_until_told, args=(tmp_path, ready, found)) for _ in range(3)]
    for process in processes:
        process.start()
    for _ in processes:
        ready.get(timeout=300)
    log = (RECORDED / "cpu-60-steps.log").read_bytes()
    for part in range(100):
        append(folder / "train.log", log[part * len(log) // 100 : (part + 1) * len(log) // 100])
        write_games(folder, [attacked(f"g{n}", n // 8) for n in range(part * 4, part * 4 + 4)])
    (tmp_path / "stop").touch()
    counts = [found.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sum(counts, Ingested()) == Ingested(metrics=60 * 27, games=400, events=1)
    with Store(tmp_path / "runs.db") as store:
        assert sum(point.turns for point in store_charts.rewards(store, "run", Role.ATTACKER)) == 400
        assert store_page.page(store, "run", GameFilter(), limit=1).total == 400


def take_until_killed(runs, turns):
    with Store(runs / "runs.db") as store:
        turns.put(1)
        while True:
            ingest_all(store, runs)


def test_an_ingester_that_is_killed_loses_and_doubles_nothing(tmp_path):
    folder = new_run(tmp_path)
    context = get_context("spawn")
    made = [attacked(f"g{n}", n // 8, attacker=n / 3) for n in range(1500)]
    for part in range(3):
        turns = context.Queue()
        process = context.Process(target=take_until_killed, args=(tmp_path, turns))
        process.start()
        turns.get(timeout=300)
        write_games(folder, made[part * 500 : part * 500 + 500])
        process.kill()
        process.join()
    again = ingested(tmp_path)[0]
    for path in tmp_path.glob("runs.db*"):
        path.unlink()
    assert again == ingested(tmp_path)[0]
    assert len(again["games"]) == 1500
