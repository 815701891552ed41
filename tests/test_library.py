import json
import os
import zipfile

import pytest
import written_run
from pydantic import ValidationError

from launcher import library, process, state, supervise
from launcher.config import RunConfig
from launcher.ingest import ingest
from launcher.reading import config_of, settings
from launcher.rundir import UnknownRun, write_json
from launcher.runs import Refused, Runs
from launcher.store import Store

FIRST, SECOND = "20260102-030405-abcd", "20260203-040506-bcde"


@pytest.fixture
def runs(tmp_path):
    (tmp_path / "runs").mkdir()
    return Runs(tmp_path / "runs")


@pytest.fixture
def store(runs):
    with Store(runs.store_path) as opened:
        yield opened


def test_notes_are_kept_in_the_runs_folder(runs):
    run = written_run.write(runs.folder)
    assert library.notes(run) == library.Notes()
    library.write_notes(run, "kept\nas it is ", [" good ", "bad", "good", ""])
    assert json.loads((run.path / "notes.json").read_text()) == {"notes": "kept\nas it is ", "tags": ["bad", "good"]}
    assert library.notes(run).tags == ("bad", "good")


def test_a_tag_that_is_too_long_is_refused_and_the_notes_stay(runs):
    run = written_run.write(runs.folder)
    library.write_notes(run, "first", [])
    with pytest.raises(ValidationError):
        library.write_notes(run, "second", ["x" * 51])
    assert library.notes(run).notes == "first"


def test_a_notes_file_that_cannot_be_read_is_not_written_over(runs):
    run = written_run.write(runs.folder)
    (run.path / "notes.json").write_text('{"notes": 3}')
    with pytest.raises(ValidationError):
        library.write_notes(run, "new", [])
    assert (run.path / "notes.json").read_text() == '{"notes": 3}'


def test_settings_make_a_run_config_again(runs):
    run = written_run.write(runs.folder, name="mine", train__steps=7)
    config = RunConfig.model_validate(settings(run))
    assert config == config_of(run)
    assert (config.name, config.train.steps) == ("mine", 7)


def test_differing_settings_by_their_keys():
    first = {"a": {"x": 1, "y": 2}, "b": [1]}
    second = {"a": {"x": 1, "y": 3}, "b": [1], "c": None, "d": 5}
    assert library.differing([first, second]) == [("a.y", (2, 3)), ("d", (None, 5))]
    assert library.differing([first, first, first]) == []


def test_deleting_takes_the_folder_and_the_rows_of_this_run_alone(runs, store):
    run, other = written_run.write(runs.folder), written_run.write(runs.folder, SECOND)
    outside = runs.folder.parent / "outside.txt"
    outside.write_text("kept")
    (run.path / "model").symlink_to(outside.parent)
    for one in (run, other):
        ingest(store, one.path)
    library.delete(runs, store, FIRST)
    assert [path.name for path in runs.folder.iterdir() if path.is_dir()] == [SECOND]
    assert outside.read_text() == "kept"
    assert [row.id for row in store.runs()] == [SECOND]
    assert store.rows("SELECT DISTINCT run FROM games") == [(SECOND,)]


def going_on(run):
    """Makes the run look alive: its supervisor is this process."""
    now = state.read(run)
    me = process.identify(os.getpid())
    state.write(run, now.model_copy(update={"state": "running", "ended": None, "supervisor": me, "trainer": me}))


def test_a_run_that_is_going_on_is_not_deleted(runs, store):
    run = written_run.write(runs.folder)
    going_on(run)
    with pytest.raises(Refused, match="stop it first"):
        library.delete(runs, store, FIRST)
    assert run.config.exists()


def test_the_start_of_a_run_that_is_going_on_is_not_deleted(runs, store):
    run = written_run.write(runs.folder)
    going_on(written_run.write(runs.folder, SECOND, policy=str(run.model)))
    with pytest.raises(Refused, match=SECOND):
        library.delete(runs, store, FIRST)
    assert run.config.exists()


@pytest.mark.parametrize("id", ["..", "../outside", "", "20260102-030405-abcd/../x", "/etc"])
def test_only_a_run_of_the_folder_can_be_deleted(runs, store, id):
    written_run.write(runs.folder.parent / "outside")
    with pytest.raises(UnknownRun):
        library.delete(runs, store, id)


def test_a_link_is_not_followed(runs, store):
    elsewhere = written_run.write(runs.folder.parent / "elsewhere")
    (runs.folder / FIRST).symlink_to(elsewhere.path)
    with pytest.raises(Refused, match="link"):
        library.delete(runs, store, FIRST)
    assert elsewhere.config.exists()


def test_a_run_whose_supervisor_winds_up_is_not_deleted(runs, store):
    run = written_run.write(runs.folder)
    with supervise.sole(run), pytest.raises(supervise.Busy):
        library.delete(runs, store, FIRST)
    assert run.config.exists()


def test_the_archive_holds_tables_games_settings_notes_and_card(runs, store):
    run = written_run.write(runs.folder)
    ingest(store, run.path)
    library.write_notes(run, "noted", [])
    for _ in range(2):
        packed = library.archive(store, run)
    assert packed == run.path / "exports" / f"{FIRST}.zip"
    assert [path.name for path in packed.parent.iterdir()] == [packed.name]
    with zipfile.ZipFile(packed) as opened:
        names = {name.removeprefix(f"{FIRST}/") for name in opened.namelist()}
        assert opened.read(f"{FIRST}/games.jsonl").count(b"\n") == 6
    assert {"metrics.csv", "rewards.csv", "rates.csv", "games.jsonl", "config.json", "card.json", "notes.json"} <= names


def test_logs_are_those_that_there_are_oldest_first(runs):
    run = written_run.write(runs.folder)
    now = json.loads(run.state.read_text())
    write_json(run.state, now | {"attempts": [0, 1, 2]})
    run.log(3).write_text("third")
    assert library.logs(run) == [run.log(1), run.log(3)]


def test_the_size_counts_the_folders_own_files(runs):
    run = written_run.write(runs.folder)
    before = library.size_mb(run)
    (run.path / "big").write_bytes(b"0" * 2_000_000)
    assert library.size_mb(run) == pytest.approx(before + 2, abs=0.05)
