"""Pages that show what is gone by now: a run deleted elsewhere, a log without its error; and a start that failed."""

from dataclasses import fields
from types import SimpleNamespace

import gradio as gr
import pytest
import written_run
from test_preflight import model

from app import status
from app.pages import history, logs, run
from app.shared import Shared
from launcher import library
from launcher.config import resolve
from launcher.runs import Runs
from launcher.store import Store

ID = "20260102-030405-abcd"


@pytest.fixture
def shared(tmp_path):
    written_run.write(tmp_path / "runs", ID, error="lost")
    runs = Runs(tmp_path / "runs")
    with Store(runs.store_path) as store:
        runs.refresh(store)
        yield Shared(runs, store, *[None] * 4)


def without_components(kind, shared):
    return kind(shared, *[None] * (len(fields(kind)) - 1))


def test_a_run_that_was_deleted_elsewhere_is_picked_no_more(shared):
    page = without_components(history.Page, shared)
    shown = page.screen("", [], "", [ID], ID)
    assert shown[-1] == ID and page.detail(ID)[0].visible
    library.delete(shared.runs, shared.store, ID)
    *_, marks, picked = page.screen("", [], "", [ID], ID)
    assert (marks, picked) == ([], "") and not page.detail(picked)[0].visible
    for verb in (history.copy, history.ask, history.write_out, history.go_on):
        with pytest.raises(gr.Error, match=ID):
            verb(page, ID)


def test_a_log_without_its_error_or_its_run_stays_as_it_is_shown(shared):
    page = without_components(logs.Page, shared)
    assert 'aria-current="true"' in logs.jump(page, ID, "train.log")[1]
    with shared.store.write():
        shared.store.connection.execute("DELETE FROM failures")
    assert set(map(type, logs.jump(page, ID, "train.log"))) == {type(gr.skip())}
    library.delete(shared.runs, shared.store, ID)
    view = logs.View(ID, "train.log", 0, 1, 1)
    for answer in (logs.jump(page, ID, None), logs.turn(page, True, view, ID, None, "everything", ""),
                   logs.poll(page, view, ID, None, "everything", "", True)):  # fmt: skip
        assert set(map(type, answer)) == {type(gr.skip())}


def test_a_start_that_fails_is_told_of_with_the_run_that_it_left(fake, tmp_path):
    here = fake("done")
    here.folder.mkdir(exist_ok=True)
    (here.folder / "queue.lock").mkdir()
    page = SimpleNamespace(ahead="ahead", shared=SimpleNamespace(runs=here))
    found = run._begin(
        page, resolve("cpu-demo", {"policy": model(tmp_path / "model"), "data.cases": 20, "data.eval_cases": 4})
    )
    (problem,) = [one for one in found["ahead"] if one.field is None]
    (left,) = [path.name for path in here.folder.glob("*-*-*")]
    assert f"run {left} is made and not started" in problem.text and "queue.lock" in problem.text
    assert "queue.lock" in status.tried(lambda: here.resume(left))["refused"]
