"""A run whose small files are damaged, or written by another version: it is shown as such, and the others as ever."""

from types import SimpleNamespace

import pytest
import written_run

from app import ui
from app.pages import games, run_list
from app.pages.game_list import Opened
from launcher import library, preflight, report, report_html, rundir, state, watch
from launcher.config import resolve
from launcher.reading import Unreadable
from launcher.runs import Runs, config_of
from launcher.store import Store

BAD, GOOD = "20260102-030405-abcd", "20260203-040506-bcde"
STATES = (b"", b'{"steps": 3', b"\xff\xfe", b"[]", b'{"steps": 3, "started": "then", "last_event": 1}')
CONFIGS = (b'{"id":', b"[]", b'{"id": "x", "created": 1, "no_such_setting": true}', b'{"device": "tpu"}')
DAMAGE = [("state.json", text) for text in STATES] + [("config.json", text) for text in CONFIGS]


@pytest.fixture
def runs(tmp_path):
    written_run.write(tmp_path / "runs", BAD, name="bad")
    written_run.write(tmp_path / "runs", GOOD, name="good")
    return Runs(tmp_path / "runs")


@pytest.fixture
def store(runs):
    with Store(runs.store_path) as opened:
        yield opened


@pytest.mark.parametrize(("file", "text"), DAMAGE)
def test_a_damaged_run_is_listed_with_the_reason_and_the_others_as_ever(runs, store, file, text):
    damaged = rundir.find(runs.folder, BAD)
    (damaged.path / file).write_bytes(text)
    runs.refresh(store)
    good, bad = run_list.every(SimpleNamespace(runs=runs, store=store))
    assert (good.run.id, good.state) == (GOOD, "done")
    assert (bad.run.id, bad.state) == (BAD, "unreadable") and f"{BAD}/{file}" in bad.damage
    assert bad.damage in run_list.described(bad, damaged).unescape()
    shown = watch.snapshot(runs, store, damaged)
    assert shown.state == "unreadable" and file in shown.reason and not shown.running and not shown.can_resume
    assert ui.first_screen(runs, store, 0.0, {})[0] in (BAD, GOOD)
    whole = report_html.whole(store, damaged)
    assert ("state.json cannot" in whole or "state.json does" in whole) == (file == "state.json")
    one = games.opened_game(SimpleNamespace(runs=runs, store=store), Opened(BAD, "g-1"))
    assert "atorvastatin" in one and (file in one or file == "state.json")


@pytest.mark.parametrize("text", STATES)
def test_a_damaged_state_is_named_by_the_command_line_and_known_to_the_index(runs, store, text):
    damaged = rundir.find(runs.folder, BAD)
    damaged.state.write_bytes(text)
    with pytest.raises(Unreadable, match="state.json"):
        runs.look(damaged)
    runs.refresh(store)
    assert [row["state"] for row in map(lambda run: report.brief(store, run), rundir.every(runs.folder))] == [
        "unreadable", "done",
    ]  # fmt: skip
    assert {row.run: row.state for row in watch.listed(runs, store)}[GOOD] == "done"


def test_a_damaged_run_is_no_obstacle_to_another_and_can_be_deleted(runs, store):
    damaged = rundir.find(runs.folder, BAD)
    damaged.state.write_text("{")
    damaged.config.write_text('{"old": 1}')
    assert not [one for one in preflight.check(resolve("cpu-demo"), runs) if BAD in one.text]
    library.delete(runs, store, BAD)
    assert [run.id for run in rundir.every(runs.folder)] == [GOOD]


def test_a_run_of_another_version_that_runs_is_told_of_as_such(fake):
    from test_supervise import start, until

    here = fake("hang")
    run = start(here)
    until(lambda: here.look(run).step == 3)
    config = run.config.read_text()
    run.config.write_text('{"no_device": 1}')
    (found,) = [one for one in preflight.check(resolve("cpu-demo"), here) if run.id in one.text]
    assert found.level == "warning" and "no_device" in found.text
    kept = run.state.read_text()
    run.state.write_text("{")
    (found,) = [one for one in preflight.check(resolve("cpu-demo"), here) if run.id in one.text]
    assert found.level == "warning" and "state.json" in found.text
    with Store(here.store_path) as store, pytest.raises(RuntimeError, match="supervisor"):
        library.delete(here, store, run.id)
    run.state.write_text(kept)
    run.config.write_text(config)
    here.stop(run.id, "now")
    assert here.wait(run).state == state.End.STOPPED
    with pytest.raises(Unreadable, match="config.json does not fit this version: no_device"):
        run.config.write_text('{"no_device": 1}')
        config_of(run)
