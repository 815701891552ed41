"""Hard times: disks that are full or read-only, damaged and locked indexes, huge and torn files, clocks that jump."""

import errno
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launcher import engine, footprint, process, rundir, state, supervise, tail, trouble, watch, webhook
from launcher.ingest import ingest, ingest_all
from launcher.rundir import PROJECT, RunDir, append_line, write_json
from launcher.runs import Runs
from launcher.state import End
from launcher.store import NoIndex, Store
from medical_team.records import GameLog
from tests import played
from tests.hardship import fill, read_only, small_disk
from tests.test_supervise import start, until
from tests.test_webhook import receiver


def counted(store: Store, run: RunDir) -> tuple[int, int]:
    """Games, and steps with metrics, in the index."""
    games = store.rows("SELECT count(*) FROM games WHERE run = ?", run.id)[0][0]
    return games, len(store.series(run.id, "policy_loss"))


@pytest.fixture
def run(tmp_path):
    found = RunDir(tmp_path / "runs" / "20260102-030405-abcd")
    found.games.mkdir(parents=True)
    found.config.write_text("{}", encoding="utf-8")
    return found


# a full disk


def test_a_full_disk_leaves_whole_files_as_they_were(tmp_path):
    with small_disk(tmp_path / "disk", 200) as disk:
        write_json(disk / "state.json", {"step": 1})
        append_line(disk / "events.jsonl", {"n": 1})
        filler = fill(disk)
        with pytest.raises(OSError, match="No space left"):
            write_json(disk / "state.json", {"step": 2, "why": "x" * 9000})
        for _ in range(200):
            try:
                append_line(disk / "events.jsonl", {"n": 2, "text": "x" * 90})
            except OSError as error:
                assert trouble.passes(error)
                break
        assert rundir.read_json(disk / "state.json") == {"step": 1} and not list(disk.glob(".*.part"))
        filler.unlink()
        append_line(disk / "events.jsonl", {"n": 3})
        lines = (disk / "events.jsonl").read_bytes().split(b"\n")
        assert json.loads(lines[0]) == {"n": 1} and json.loads(lines[-2]) == {"n": 3} and lines[-1] == b""


def test_a_game_that_follows_a_torn_one_is_whole(run, tmp_path):
    game = played.game(run.id, 1, 1, played.Play(), played.random.Random(1))
    log = GameLog(run.games, "1-1")
    log.append(game)
    with log.path.open("ab") as file:
        file.write(b'{"schema_version": 1, "run": "torn')
    log.append(game.model_copy(update={"game": "another"}))
    with Store(tmp_path / "runs.db") as store:
        found = ingest(store, run.path)
        assert (found.games, found.bad) == (2, 1)


def test_a_run_on_a_full_disk_goes_on_and_loses_nothing(fake, tmp_path, monkeypatch):
    with small_disk(tmp_path / "disk", 6000) as disk:
        monkeypatch.setenv("SECOND_OPINION_RUNS", str(disk))
        fake("hang", steps=4)
        here = Runs.here()
        run = start(here)
        until(lambda: state.read(run).step == 4)
        lines = len(run.memory.read_bytes().splitlines())
        filler = fill(disk)
        time.sleep(2.5)
        now = state.read(run)
        assert now.state == "running" and process.alive(now.supervisor) and process.alive(now.trainer)
        filler.unlink()
        until(lambda: len(run.memory.read_bytes().splitlines()) > lines + 1)
        assert here.look(run).step == 4
        here.stop(run.id, "now")
        assert here.wait(run).state == End.STOPPED
        with Store(here.store_path) as store:
            ingest(store, run.path)
            assert [point.step for point in store.series(run.id, "reward")] == [1, 2, 3, 4]


def test_a_run_that_ends_on_a_full_disk_has_its_end_written_down(fake, tmp_path, monkeypatch):
    with small_disk(tmp_path / "disk", 6000) as disk:
        monkeypatch.setenv("SECOND_OPINION_RUNS", str(disk))
        fake("hang", steps=2)
        here = Runs.here()
        run = start(here)
        until(lambda: state.read(run).step == 2)
        assert run.ballast.stat().st_size == trouble.BALLAST_BYTES
        fill(disk)
        os.kill(state.read(run).trainer.pid, 9)
        until(lambda: state.read(run).ended_already)
        now = state.read(run)
        assert (now.state, now.step, now.exit_code) == (End.CRASHED, 2, -9) and "SIGKILL" in now.reason


def test_a_run_that_lost_its_processes_on_a_full_disk_is_shown_until_its_end_can_be_written(
    fake, tmp_path, monkeypatch
):
    with small_disk(tmp_path / "disk", 6000) as disk:
        monkeypatch.setenv("SECOND_OPINION_RUNS", str(disk))
        fake("hang", steps=2)
        here = Runs.here()
        run = start(here)
        until(lambda: state.read(run).step == 2)
        now = state.read(run)
        for who in (now.supervisor, now.trainer):
            os.kill(who.pid, signal.SIGKILL)
        until(lambda: not process.alive(now.supervisor) and not process.alive(now.trainer))
        run.ballast.unlink()
        filler = fill(disk)
        assert here.look(run).state == "running"
        filler.unlink()
        assert here.look(run).state == End.CRASHED


# a folder that may only be read


def test_a_read_only_runs_folder_is_a_clear_error(run, tmp_path):
    with read_only(tmp_path / "runs") as folder:
        with pytest.raises(NoIndex, match="see whether .* can be written to"):
            Store(folder / "runs.db")
        env = os.environ | {"SECOND_OPINION_RUNS": str(folder)}
        for argv in (["launcher", "list"], ["app"]):
            done = subprocess.run(
                [sys.executable, "-m", *argv], cwd=PROJECT, env=env, capture_output=True, text=True, timeout=300
            )
            assert done.returncode in (1, 2) and "cannot be used" in done.stderr and "Traceback" not in done.stderr


# the index


def test_a_damaged_index_is_made_again_with_all_that_it_held(run, tmp_path):
    for step in range(1, 9):
        played.step(run, step)
    path = tmp_path / "runs" / "runs.db"
    with Store(path) as store:
        ingest_all(store, path.parent)
        before = counted(store, run)
        assert before == (8 * 32, 8) and store.damage() is None
    with path.open("r+b") as file:
        for page in range(4, path.stat().st_size // 4096, 3):
            file.seek(page * 4096)
            file.write(os.urandom(4096))
    with Store(path) as store:  # which sees at once what was damaged at the file's beginning
        if store.damage():
            store.set_aside()
        assert store.damage() is None and store.runs() == []
        ingest_all(store, path.parent)
        assert counted(store, run) == before
    assert list(path.parent.glob("runs.db.damaged-*"))


def test_whoever_has_the_old_index_open_goes_on_with_the_new_one(run, tmp_path):
    played.step(run, 1)
    path = tmp_path / "runs.db"
    with Store(path) as supervisor, Store(path) as dashboard:
        ingest(supervisor, run.path)
        dashboard.set_aside()
        assert dashboard.runs() == []
        played.step(run, 2)
        assert ingest(supervisor, run.path).games == 64
        assert counted(dashboard, run) == (64, 2)


def test_a_supervisor_outlives_a_damaged_index(fake):
    here = fake("hang", steps=3)
    run = start(here)
    until(lambda: state.read(run).step == 3)
    supervisor = state.read(run).supervisor
    with sqlite3.connect(here.store_path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with here.store_path.open("r+b") as file:
        file.truncate(4096)
        file.write(os.urandom(4096))
    here.stop(run.id, "now")
    now = here.wait(run)
    assert (now.state, now.step, now.supervisor) == (End.STOPPED, 3, supervisor)
    with Store(here.store_path) as store:
        ingest(store, run.path)
        assert [point.step for point in store.series(run.id, "reward")] == [1, 2, 3]


def test_a_locked_index_holds_nobody_up_and_nothing_is_lost(fake):
    here = fake("hang", steps=3)
    run = start(here)
    until(lambda: here.store_path.exists() and state.read(run).trainer is not None)
    lock = sqlite3.connect(here.store_path, isolation_level=None, timeout=30)
    until(lambda: state.read(run).step == 3)
    lock.execute("BEGIN IMMEDIATE")
    with run.log(1).open("a", encoding="utf-8") as log:
        log.write(f"{played.PREFIX}4: {{'reward': 0.4}}\n")
    time.sleep(supervise.PATIENCE + 1)
    assert process.alive(state.read(run).supervisor) and not state.read(run).ended_already
    lock.execute("COMMIT")
    lock.close()
    until(lambda: state.read(run).step == 4)
    here.stop(run.id, "now")
    assert here.wait(run).state == End.STOPPED


# files


def test_a_log_of_ten_gigabytes_is_read_in_constant_memory(run, tmp_path):
    played.step(run, 1)
    with run.log(1).open("ab") as file:
        file.truncate(10 * 2**30)
    played.step(run, 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Store(tmp_path / "runs.db") as store:
        ingest(store, run.path)
        assert [point.step for point in store.series(run.id, "policy_loss")] in ([1, 2], [1])
        assert store.mark(run.id, "train.log").offset == run.log(1).stat().st_size
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    assert watch.last_lines(run.log(1))


def test_a_line_without_an_end_is_cut_and_what_follows_is_read(tmp_path):
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.write(b"x" * tail.LONGEST + b"yy\nnext\n")
    chunk = tail.read(path, 0)
    assert (chunk.offset, len(chunk.lines[0].text)) == (tail.LONGEST, tail.KEPT)
    assert [line.text for line in tail.read(path, chunk.offset).lines] == [b"yy", b"next"]


def test_lines_that_are_torn_or_no_text_are_counted_and_cost_no_other(run, tmp_path):
    played.step(run, 1)
    with (run.games / "1-1.jsonl").open("ab") as file:
        file.write(b"\xff\xfe\x00 no text\n{}\n" + b'{"schema_version": 1,\n')
    played.step(run, 2)
    with run.log(1).open("ab") as file:
        file.write(b"\xff\xfeGlobal step 9: {'reward': \n")
    with Store(tmp_path / "runs.db") as store:
        found = ingest(store, run.path, finish=True)
        assert counted(store, run) == (64, 2) and found.bad == 4
        assert sum(store.count_bad_lines(run.id).values()) == 4


# the clock


def test_a_process_is_known_whatever_the_clock_of_the_wall_says():
    """Its start is counted from the machine's: a clock that is set would otherwise make every process a stranger."""
    me = process.identify(os.getpid())
    ticks = float(Path("/proc/self/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19])
    assert me.started == pytest.approx(ticks / os.sysconf("SC_CLK_TCK"))
    assert process.alive(me) and not process.alive(me._replace(started=me.started + 1))


@pytest.mark.parametrize("hours", [-48, 48])
def test_a_state_from_a_clock_that_jumped_is_shown_as_it_is(fake, hours):
    here = fake("hang", steps=2)
    run = start(here)
    until(lambda: state.read(run).step == 2)
    moved = time.time() + 3600 * hours
    os.utime(run.log(1), (moved, moved))
    with Store(here.store_path) as store:
        now = watch.snapshot(here, store, run)
    assert now.running and now.step == 2 and now.silent_seconds >= 0
    here.stop(run.id, "now")
    assert here.wait(run).state == End.STOPPED


# secrets


def test_a_trainer_is_told_nothing_of_the_webhook(fake, monkeypatch):
    monkeypatch.setenv(webhook.ADDRESS, "http://127.0.0.1:9/private-path")
    monkeypatch.setenv(webhook.SECRET, "private-secret")
    here = fake("hang", steps=1)
    run = start(here)
    until(lambda: state.read(run).step == 1)
    environment = Path(f"/proc/{state.read(run).trainer.pid}/environ").read_bytes()
    here.stop(run.id, "now")
    here.wait(run)
    assert b"private-" not in environment
    for path in [*run.path.rglob("*"), here.store_path]:
        assert path.is_dir() or b"private-" not in path.read_bytes()


@pytest.mark.parametrize("killed", [False, True])
def test_a_crash_is_posted_with_its_cause(fake, monkeypatch, killed):
    with receiver(200) as (url, got):
        monkeypatch.setenv(webhook.ADDRESS, url)
        here = fake("hang" if killed else "raise", steps=2)
        run = start(here)
        if killed:  # both, so that somebody else writes its end
            until(lambda: state.read(run).trainer)
            now = state.read(run)
            os.kill(now.supervisor.pid, signal.SIGKILL)
            os.kill(now.trainer.pid, signal.SIGKILL)
        assert here.wait(run).state == End.CRASHED
        until(lambda: got)
    assert len(got) == 1
    body = json.loads(got[0][1])
    assert body["alert"] == "crashed" and body["link"] == f"/?run={run.id}&tab=logs"
    assert state.read(run).reason in body["text"]


def test_an_index_is_not_set_aside_twice(tmp_path):
    """Two that find the damage at once: the second one takes what the first one made."""
    path = tmp_path / "runs.db"
    with Store(path) as one, Store(path) as two:
        assert one.set_aside() and two.set_aside() is None
        assert two.runs() == []


# a watcher that cannot look


def broken_part(index: Path) -> None:
    """Makes the index a database whose table of failures and metrics cannot be read, as a bad block of the disk does."""
    with sqlite3.connect(index, isolation_level=None) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        tables = "SELECT rootpage FROM sqlite_master WHERE tbl_name IN ('failures', 'metrics') AND rootpage > 0"
        pages = [page for (page,) in connection.execute(tables)]
    connection.close()
    with index.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)


def test_a_run_whose_index_is_damaged_in_part_can_be_ended(fake):
    here = fake("hang", steps=3)
    run = start(here)
    until(lambda: state.read(run).step == 3)
    before = state.read(run)
    broken_part(here.store_path)
    os.kill(before.trainer.pid, signal.SIGKILL)
    now = here.wait(run)
    assert (now.state, now.step, now.supervisor) == (End.CRASHED, 3, before.supervisor)
    assert "SIGKILL" in now.reason and "the supervisor failed" not in now.reason


def test_a_look_that_fails_ends_nothing_and_is_told_once_of_each_kind(tmp_path):
    told, mended = [], []
    looks = trouble.Looks(told.append, mended.append)
    read_only = OSError(errno.EROFS, os.strerror(errno.EROFS))
    for error in (
        read_only,
        read_only,
        KeyError("x"),
        OSError(errno.ENOSPC, "full"),
        sqlite3.OperationalError("is locked"),
    ):
        with looks.at("memory"):
            raise error
    with looks.at("health"):
        raise read_only
    assert [text.partition(":")[0] for text in told] == [
        "memory could not be looked at", "memory could not be looked at", "health could not be looked at",
    ]  # fmt: skip
    with looks.at("health"):
        raise sqlite3.DatabaseError("database disk image is malformed")
    assert [str(error) for error in mended] == ["database disk image is malformed"] and len(told) == 3


def test_a_driver_that_does_not_answer_ends_no_run(fake, tmp_path, monkeypatch):
    """A run on a GPU whose driver tells nothing here: its memory is not known, and that is all."""
    here = fake("hang", steps=3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("FAKE_VERSIONS", json.dumps(engine.pins(engine.lock("cuda"))))
    run = start(here, device="cuda")
    until(lambda: state.read(run).step == 3)

    def told() -> list[str]:
        return [line for line in run.events.read_text().splitlines() if "memory could not be looked at" in line]

    until(lambda: told() or footprint.has_gpu())
    time.sleep(2)  # other looks follow
    now = state.read(run)
    assert now.state == "running" and process.alive(now.trainer)
    here.stop(run.id, "now")
    assert here.wait(run).state == End.STOPPED
    if not footprint.has_gpu():
        assert len(told()) == 1 and "NVMLError" in told()[0]
