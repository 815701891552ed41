import json
import os
import signal
import time

import pytest

from launcher import checkpoints, devices, process, rundir, state, supervise
from launcher.config import resolve
from launcher.ingest import ingest
from launcher.runs import Refused, Runs
from launcher.state import End
from launcher.store import Store
from medical_team.judge.failures import RunReport


def start(here: Runs, **settings):
    made = {"policy": "some/model", "train.steps": 3, "data.cases": 20, "data.eval_cases": 4, "checkpoint.steps": 2}
    run = here.create(resolve("cpu-demo", made | {key.replace("__", "."): value for key, value in settings.items()}))
    here.start(run)
    return run


def until(true, seconds: float = 120.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def test_a_run_that_makes_all_its_steps_is_done(fake):
    here = fake("done")
    run = start(here)
    now = here.wait(run)
    assert (now.state, now.step, now.exit_code, now.left_over) == (End.DONE, 3, 0, ())
    with Store(here.store_path) as store:
        assert [point.value for point in store.series(run.id, "reward")] == [0.1, 0.2, 0.3]
        assert store.run(run.id).state == "done"
        assert [event.kind for event in store.events(run.id)][:1] == ["started"]
    assert not run.scratch.exists()
    described = json.loads(run.command.read_text())
    assert described["argv"][1:3] == ["-m", "openrlhf.cli.train_ppo_ray"] and described["versions"]["ray"]


def test_a_run_whose_judge_is_gone_ends_with_that_reason(fake):
    here = fake("hang")
    run = start(here)
    RunReport(run.path).stop("the judge failed 20 times in a row")
    now = here.wait(run)
    assert (now.state, now.reason) == (End.STOPPED, "the judge failed 20 times in a row")


def test_memory_is_sampled_by_process(fake):
    here = fake("hang")
    run = start(here)
    until(lambda: run.memory.exists() and len(run.memory.read_bytes().splitlines()) > 1)
    here.stop(run.id, "now")
    here.wait(run)
    samples = [json.loads(line) for line in run.memory.read_text().splitlines()]
    assert all(sample["source"] == "pss" for sample in samples)
    assert any(one["pid"] == here.look(run).trainer.pid and one["mb"] > 1 for one in samples[-1]["processes"])


def test_a_trainer_that_raises_has_crashed_with_its_traceback(fake):
    here = fake("raise")
    run = start(here)
    now = here.wait(run)
    assert (now.state, now.exit_code) == (End.CRASHED, 1)
    assert "exit code 1" in now.reason and "ValueError: the reward was lost" in now.reason
    assert "ValueError: the reward was lost" in now.traceback


def test_a_trainer_that_ends_early_and_quietly_has_crashed_too(fake):
    here = fake("done", steps=2)
    now = here.wait(start(here))
    assert (now.state, now.step, now.exit_code) == (End.CRASHED, 2, 0)


def test_a_killed_trainer_is_named_as_such(fake):
    here = fake("kill")
    now = here.wait(start(here))
    assert (now.state, now.exit_code) == (End.CRASHED, -9)
    assert "SIGKILL" in now.reason and "memory" in now.reason


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"2": "nan"}, "vllm_kl is nan at step 2"), ({"2": "0.02", "3": "-0.5"}, "vllm_kl is -0.5 at step 3")],
)
def test_a_dead_weight_sync_stops_a_cpu_run(fake, monkeypatch, wrong, told):
    monkeypatch.setenv("FAKE_KL", json.dumps(wrong))
    here = fake("hang")
    run = start(here)
    now = here.wait(run)
    assert now.state == End.CRASHED
    assert "weight sync" in now.reason and told in now.reason
    assert process.marked(run.id) == []


def test_a_step_whose_weight_sync_looks_dead_by_chance_ends_no_run(fake, monkeypatch):
    monkeypatch.setenv("FAKE_KL", json.dumps({"1": "0.02", "3": "0.02"}))
    here = fake("done", steps=4, pace=0.6)
    now = here.wait(start(here))
    assert (now.state, now.step) == (End.DONE, 4)


def test_a_stop_is_polite_to_a_trainer_that_was_started_in_the_background(fake):
    here = fake("hang")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = start(here)
    finally:
        signal.signal(signal.SIGINT, before)
    until(lambda: here.look(run).step == 3)
    here.stop(run.id, "now")
    assert here.wait(run).state == End.STOPPED
    assert "KeyboardInterrupt" in run.log(1).read_text()


def test_a_trainer_that_nobody_hears_any_more_is_ended_and_what_it_said_is_kept(fake):
    here = fake("deaf", steps=3)
    run = start(here)
    until(lambda: run.memory.exists() and len(json.loads(run.memory.read_text().splitlines()[-1])["processes"]) == 3)
    assert here.look(run).state == "running"
    (monitor,) = [one for one in process.marked(run.id) if one.cmdline()[0] == "log_monitor.py"]
    monitor.kill()
    now = here.wait(run)
    assert (now.state, now.step) == (End.CRASHED, 4)
    assert "log monitor" in now.reason and str(monitor.pid) in now.reason
    with Store(here.store_path) as store:
        assert [point.value for point in store.series(run.id, "reward")] == [0.1, 0.2, 0.3, 0.4]


def test_a_trainer_that_waits_for_a_process_that_could_not_start_is_ended_with_the_cause(fake):
    here = fake("dead_actor")
    run = start(here)
    now = here.wait(run)
    assert now.state == End.CRASHED and process.marked(run.id) == []
    assert "could not start: ValueError: the judge has no weights" in now.reason
    assert "in __init__" in now.traceback


@pytest.mark.parametrize("ending", ["hang", "stubborn"])
def test_stop_now_ends_every_process(fake, ending):
    here = fake(ending)
    run = start(here)
    until(lambda: here.look(run).step == 3)
    here.stop(run.id, "now")
    now = here.wait(run)
    assert now.state == End.STOPPED and process.marked(run.id) == []
    assert not run.stop.exists()


def test_stop_after_the_next_checkpoint_then_resume_from_it(fake):
    here = fake("hang", steps=1000)
    run = start(here, train__steps=1000)
    until(lambda: here.look(run).step >= 1)
    here.stop(run.id, "checkpoint")
    stopped = here.wait(run)
    saved = checkpoints.checkpoint_step(run)
    assert stopped.state == End.STOPPED and saved >= 2
    fake("done", steps=1000, pace=0.002)
    here.resume(run.id)
    now = here.wait(run)
    assert (now.state, now.step, now.attempts) == (End.DONE, 1000, (0, saved))
    assert run.log(2).exists()
    with Store(here.store_path) as store:
        assert [point.step for point in store.series(run.id, "reward")] == list(range(1, 1001))


def test_a_stop_after_a_checkpoint_waits_for_the_model_beside_it(fake, monkeypatch):
    monkeypatch.setenv("FAKE_SAVING", "1.5")
    here = fake("hang", steps=3, hold=1)
    run = start(here, train__steps=100, checkpoint__huggingface=True)
    until(lambda: here.look(run).step == 1)
    here.stop(run.id, "checkpoint")
    fake.gate.touch()
    now, step = here.wait(run), checkpoints.checkpoint_step(run)
    assert now.state == End.STOPPED and (run.checkpoints / f"global_step{step}_hf" / "tokenizer.json").exists()


def test_models_beside_the_checkpoints_are_deleted_as_they_are(fake):
    here = fake("hang", steps=12)
    run = start(here, train__steps=13, checkpoint__huggingface=True, checkpoint__keep=2)
    until(lambda: here.look(run).step == 12)
    newest = {"global_step10_hf", "global_step12_hf"}
    until(lambda: {folder.name for folder in run.checkpoints.glob("*_hf")} == newest)
    here.stop(run.id, "now")
    here.wait(run)


def test_a_run_goes_on_from_any_checkpoint_that_there_is(fake):
    here = fake("done", steps=8)
    run = start(here, train__steps=8)
    assert here.wait(run).state == End.DONE
    with pytest.raises(Refused, match="no checkpoint of step 3; there are those of steps 2, 4, 6, 8"):
        here.resume(run.id, 3)
    with pytest.raises(Refused, match="has made all its 8 steps"):
        here.resume(run.id, 8)
    here.resume(run.id, 4)
    now = here.wait(run)
    assert (now.state, now.step, now.attempts, now.chosen) == (End.DONE, 8, (0, 4), None)
    assert "Global step 5" in run.log(2).read_text().splitlines()[0]


def test_a_choice_of_a_checkpoint_is_forgotten_with_the_place_in_the_queue(fake):
    here = fake("kill", steps=6)
    run = start(here, train__steps=8)
    here.wait(run)
    fake("done", steps=8)
    with devices.held(here.folder, ["cpu"]):
        here.resume(run.id, 2)
        assert state.read(run).chosen == 2
        here.withdraw(run.id)
    here.resume(run.id)
    assert here.wait(run).attempts == (0, 6)


def test_what_cannot_be_done_is_refused_with_the_reason(fake):
    here = fake("done", hold=1)
    run = start(here, checkpoint__steps=0)
    with pytest.raises(Refused, match="is running"):
        here.resume(run.id)
    with pytest.raises(Refused, match="not 'tomorrow'"):
        here.stop(run.id, "tomorrow")
    with pytest.raises(Refused, match="saves no checkpoints"):
        here.stop(run.id, "checkpoint")
    fake.gate.touch()
    assert here.wait(run).state == End.DONE
    with pytest.raises(Refused, match="has made all its 3 steps"):
        here.resume(run.id)
    with pytest.raises(Refused, match="is not running"):
        here.stop(run.id, "now")
    crashed = start(fake("raise", steps=1))
    here.wait(crashed)
    with pytest.raises(Refused, match="no checkpoint to resume from"):
        here.resume(crashed.id)


def test_a_killed_supervisor_is_replaced_and_no_step_is_lost(fake):
    here = fake("done", steps=60, hold=50)
    run = start(here, train__steps=60)
    until(lambda: here.look(run).step >= 2)
    first = state.read(run)
    os.kill(first.supervisor.pid, signal.SIGKILL)
    until(lambda: not process.alive(first.supervisor))
    assert here.look(run).state == "running"
    until(lambda: process.alive(state.read(run).supervisor))
    fake.gate.touch()
    now = here.wait(run)
    assert (now.state, now.step) == (End.DONE, 60) and now.supervisor != first.supervisor
    with Store(here.store_path) as store:
        assert [point.step for point in store.series(run.id, "reward")] == list(range(1, 61))
        assert "adopted" in [event.kind for event in store.events(run.id)]


def test_a_run_that_lost_both_its_processes_has_crashed(fake):
    here = fake("hang")
    run = start(here)
    until(lambda: here.look(run).step == 3)
    now = state.read(run)
    os.kill(now.supervisor.pid, signal.SIGKILL)
    os.kill(now.trainer.pid, signal.SIGKILL)
    until(lambda: not process.alive(now.supervisor) and not process.alive(now.trainer))
    after = here.look(run)
    assert after.state == End.CRASHED and "nobody watched" in after.reason


def test_a_run_has_one_supervisor(fake):
    here = fake("hang")
    run = start(here)
    until(lambda: here.look(run).step == 3)
    with pytest.raises(supervise.Busy):
        supervise.conclude(run, here.store_path)
    here.stop(run.id, "now")
    here.wait(run)


def test_the_index_can_be_deleted(fake):
    here = fake("raise")
    run = start(here)
    here.wait(run)

    def rows(path):
        with Store(path) as store:
            ingest(store, run.path)
            return store.run(run.id), store.series(run.id, "vllm_kl"), store.events(run.id), store.failures(run.id)

    assert rows(here.store_path) == rows(here.folder / "again.db")


def test_a_pid_that_was_used_again_is_another_process():
    me = process.identify(os.getpid())
    assert process.alive(me)
    assert not process.alive(me._replace(started=me.started - 100))
    assert not process.alive(None)


@pytest.mark.parametrize("id", ["../etc", "20260101-000000-abcd/..", "", "runs.db", "20260101-000000-abcd"])
def test_a_run_is_never_looked_for_outside_its_folder(tmp_path, id):
    with pytest.raises(rundir.UnknownRun):
        rundir.find(tmp_path, id)
