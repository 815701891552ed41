import sqlite3
from multiprocessing import get_context

import pytest
from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from launcher.ingest import ingest
from launcher.migrations import migrations
from launcher.rundir import RunDir
from launcher.store import Store
from tests import played


def names(path):
    with sqlite3.connect(path) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM _sqlite_migrations ORDER BY id")]


def test_opening_applies_every_migration_once_and_in_order(tmp_path):
    path = tmp_path / "runs.db"
    for _ in range(2):
        Store(path).close()
    assert names(path) == [
        "runs",
        "trainer_log",
        "games",
        "per_step",
        "reviews",
        "step_ends",
        "memory_by_role",
        "probes",
        "reviewed_facets",
        "step_judge",
        "health",
        "evaluations",
        "trained_seats",
    ]
    assert names(path) == [migration.name for migration in migrations._migrations]


def test_a_database_of_an_earlier_version_is_brought_up_and_keeps_its_rows(tmp_path):
    path = tmp_path / "runs.db"
    old = Database(path)
    migrations.apply(old, stop_before="games")
    old["offsets"].insert({"run": "r", "file": "train.log", "offset": 7, "lines": 1, "state": None})
    old.close()
    with Store(path) as store:
        assert store.mark("r", "train.log").offset == 7
        assert store.rows("SELECT count(*) FROM games") == [(0,)]


def test_runs_with_frozen_seats_are_read_again_and_the_others_are_not(tmp_path):
    runs = [RunDir(tmp_path / f"20260102-03040{second}-abcd") for second in (1, 2)]
    for run, trained in zip(runs, (True, False), strict=True):
        run.games.mkdir(parents=True)
        run.config.write_text("{}", encoding="utf-8")
        played.step(run, 1)
        path = run.games / "1-1.jsonl"
        text = path.read_text(encoding="utf-8")
        path.write_text(text if trained else text.replace('"trained":true', '"trained":false'), encoding="utf-8")
    path = tmp_path / "runs.db"
    with Store(path) as store:
        for run in runs:
            ingest(store, run.path)
        store.connection.execute("UPDATE step_games SET answers = 77")
        store.connection.execute("DELETE FROM _sqlite_migrations WHERE name = 'trained_seats'")
        store.connection.commit()
    with Store(path) as store:
        assert [store.mark(run.id, "games/1-1.jsonl").offset > 0 for run in runs] == [True, False]
        assert [ingest(store, run.path).games for run in runs] == [0, 32]
        counted = [store.rows("SELECT answers FROM step_games WHERE run = ? AND category = ''", run.id) for run in runs]
        assert counted == [[(77,)], [(0,)]]


def test_a_migration_that_fails_leaves_nothing(tmp_path):
    broken = Migrations("broken")

    @broken()
    def half(db):
        db.conn.execute("CREATE TABLE half (id INTEGER)")
        raise RuntimeError("stop")

    database = Database(tmp_path / "runs.db")
    with pytest.raises(RuntimeError, match="stop"):
        broken.apply(database)
    assert not database["half"].exists()
    assert [migration.name for migration in broken.pending(database)] == ["half"]
    database.close()


def open_store(path):
    with Store(path) as store:
        return store.rows("SELECT count(*) FROM runs")


def test_processes_that_open_a_new_database_at_once_agree(tmp_path):
    path = tmp_path / "runs.db"
    with get_context("spawn").Pool(4) as pool:
        assert pool.map(open_store, [path] * 8) == [[(0,)]] * 8
    assert names(path) == [
        "runs",
        "trainer_log",
        "games",
        "per_step",
        "reviews",
        "step_ends",
        "memory_by_role",
        "probes",
        "reviewed_facets",
        "step_judge",
        "health",
        "evaluations",
        "trained_seats",
    ]
