"""Many runs, one device: who starts when, and that never two have it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from test_cli import RUN, call
from test_supervise import start, until

from bench.many_jobs import Trainer, crowd, in_order, most_at_once
from launcher import devices, engine, preflight, process, queue, rundir, runs, state, watch
from launcher.config import resolve
from launcher.runs import Refused
from launcher.state import End
from launcher.store import Store


def states(here, *ids):
    return [state.read(rundir.find(here.folder, id)).state for id in ids]


def begun(here, run):
    """Its supervisor is there, and has the device."""
    until(lambda: here.look(run).state == "running")


def line(here):
    return [one.run for one in queue.waiting(here.folder)]


def test_a_run_waits_while_another_has_its_device_and_starts_when_that_ends(fake):
    here = fake("hang")
    first, second = start(here), start(here)
    begun(here, first)
    assert states(here, first.id, second.id) == ["running", "queued"]
    assert here.look(second).state == "queued" and line(here) == [second.id]
    with Store(here.store_path) as store:
        shown = watch.snapshot(here, store, second)
    assert (shown.state, shown.place, shown.running, shown.silent_seconds) == ("queued", 1, True, None)
    here.stop(first.id, "now")
    # its predecessor's supervisor started it: nobody else looks here
    until(lambda: state.read(second).state == "running")
    assert states(here, first.id) == [End.STOPPED] and state.read(second).devices == ("cpu",)
    assert line(here) == []


def test_the_line_is_moved_and_left(fake):
    here = fake("hang")
    has, *waiting = (start(here) for _ in range(4))
    begun(here, has)
    one, two, three = (run.id for run in waiting)
    assert line(here) == [one, two, three]
    assert here.move(three, 1) == 1 and line(here) == [three, one, two]
    assert here.move(three, 99) == 3 and line(here) == [one, two, three]
    here.withdraw(two)
    assert line(here) == [one, three]
    withdrawn = here.look(rundir.find(here.folder, two))
    assert (withdrawn.state, withdrawn.reason) == (End.STOPPED, "withdrawn from the queue before it started")
    here.stop(one, "checkpoint")
    assert line(here) == [three] and states(here, one) == [End.STOPPED]
    for verb in (lambda: here.withdraw(one), lambda: here.move(has.id, 1)):
        with pytest.raises(Refused, match="is not in the queue"):
            verb()
    with pytest.raises(Refused, match="waits in the queue"):
        here.resume(three)
    here.resume(two)  # it never began: it does so now
    assert line(here) == [three, two]


def test_a_run_whose_turn_comes_as_it_is_stopped_is_stopped_all_the_same(fake, monkeypatch):
    here = fake("hang")
    has, waits = start(here), start(here)
    begun(here, has)
    withdraw = queue.withdraw

    def late(run):
        monkeypatch.setattr(queue, "withdraw", withdraw)
        here.stop(has.id, "now")
        begun(here, run)
        return withdraw(run)

    monkeypatch.setattr(queue, "withdraw", late)
    here.stop(waits.id, "now")
    until(lambda: here.look(waits).state == End.STOPPED)
    assert states(here, has.id, waits.id) == [End.STOPPED, End.STOPPED] and line(here) == []


def test_a_run_that_goes_on_waits_too_and_is_what_it_was_if_it_is_withdrawn(fake):
    here = fake("raise")
    ended = start(here)
    crashed = here.wait(ended)
    fake("hang")
    begun(here, start(here))
    here.resume(ended.id)
    assert states(here, ended.id) == ["queued"] and line(here) == [ended.id]
    here.withdraw(ended.id)
    now = state.read(ended)
    assert (now.state, now.reason, now.attempts) == (End.CRASHED, crashed.reason, crashed.attempts)
    assert now.traceback == crashed.traceback and line(here) == []


def test_the_line_is_made_again_from_the_runs(fake):
    here = fake("hang")
    has, one, two = (start(here) for _ in range(3))
    begun(here, has)
    for damage in (lambda file: file.unlink(), lambda file: file.write_text('[["x"')):
        damage(here.folder / "queue.json")
        assert line(here) == [one.id, two.id]
    three = start(here)
    assert line(here) == [one.id, two.id, three.id]


def test_a_run_that_cannot_be_written_into_the_line_does_not_say_that_it_waits(fake):
    here = fake("hang")
    has, ended = start(here), start(here)
    begun(here, has)
    here.withdraw(ended.id)
    before = state.read(ended)
    (here.folder / "queue.json").unlink()
    (here.folder / "queue.json").mkdir()
    with pytest.raises(OSError):
        here.resume(ended.id)
    assert state.read(ended) == before
    (here.folder / "queue.json").rmdir()
    here.resume(ended.id)
    assert line(here) == [ended.id]


def test_a_run_in_the_line_whose_state_does_not_say_so_leaves_it(fake):
    """Whoever queued it was killed between the two."""
    here = fake("hang")
    has, waits = start(here), start(here)
    begun(here, has)
    never = here.create(resolve("cpu-demo", {"policy": "some/model", "data.cases": 20, "data.eval_cases": 4}))
    ahead = [[never.id, "cpu", 1.0], [waits.id, "cpu", 2.0]]
    rundir.write_json(here.folder / "queue.json", ahead)
    here.stop(has.id, "now")
    begun(here, waits)
    assert line(here) == [] and state.read(never) is None


def test_a_wish_to_stop_that_was_left_behind_stops_no_later_start(fake):
    here = fake("raise", steps=2)
    run = start(here)
    here.wait(run)
    rundir.write_json(run.stop, {"when": "now", "asked": 1.0, "checkpoint": 0})
    fake("done")
    here.resume(run.id)
    assert here.wait(run).state == End.DONE


def test_two_runs_of_one_second_have_two_ids(tmp_path):
    ids = iter(["20260101-000000-abcd", "20260101-000000-abcd", "20260101-000000-bcde"])
    made = [runs.new_folder(tmp_path, ids).id for _ in range(2)]
    assert made == ["20260101-000000-abcd", "20260101-000000-bcde"]


def test_a_killed_supervisor_leaves_its_device_to_its_trainer(fake):
    here = fake("hang")
    first, second = start(here), start(here)
    until(lambda: here.look(first).step == 3)
    now = state.read(first)
    os.kill(now.supervisor.pid, signal.SIGKILL)
    until(lambda: not process.alive(now.supervisor))
    queue.advance(here.folder)
    assert states(here, first.id, second.id) == ["running", "queued"] and state.read(second).supervisor is None
    here.advance()
    until(lambda: process.alive(state.read(first).supervisor))
    assert states(here, second.id) == ["queued"] and process.alive(now.trainer)


def test_whoever_looks_starts_the_next_where_all_were_killed(fake):
    here = fake("hang")
    first, second = start(here), start(here)
    until(lambda: here.look(first).step == 3)
    now = state.read(first)
    for who in (now.supervisor, now.trainer):
        os.kill(who.pid, signal.SIGKILL)
    until(lambda: not process.alive(now.supervisor) and not process.alive(now.trainer))
    here.advance()
    assert states(here, first.id) == [End.CRASHED]
    begun(here, second)


def test_a_device_that_another_process_holds_is_not_given_away(fake):
    here = fake("done")
    with devices.held(here.folder, ["cpu"]):
        run = start(here)
        here.advance()
        assert states(here, run.id) == ["queued"] and state.read(run).supervisor is None
    assert here.wait(run).state == End.DONE


def gpu_run(here, preset):
    return here.create(resolve(preset, {"policy": "some/model", "data.source": "demo", "data.cases": 60}))


def test_a_run_of_two_gpus_is_not_passed_by_and_other_devices_are_other_lines(fake, monkeypatch):
    here = fake("hang")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    two, one = gpu_run(here, "multi-gpu"), gpu_run(here, "single-gpu-80gb")
    with devices.held(here.folder, ["gpu-1"]):
        here.start(two)
        here.start(one)
        begun(here, start(here))
        assert states(here, two.id, one.id) == ["queued", "queued"] and line(here) == [two.id, one.id]
        assert devices.visible(("gpu-0", "gpu-1")) == {} == devices.visible(("cpu",))
    here.withdraw(two.id)
    begun(here, one)
    here.stop(one.id, "now")
    now = here.wait(one)
    assert now.devices == ("gpu-0",) and devices.visible(now.devices) == {"CUDA_VISIBLE_DEVICES": "0"}


def test_a_gpu_has_one_name_however_it_is_chosen(monkeypatch):
    uuids = ("GPU-aa11-1", "GPU-bb22-2", "GPU-bb33-3")
    assert devices.named(["1", "GPU-aa11-1"], uuids) == ["gpu-1", "gpu-0"]
    assert devices.named(["gpu-AA", "GPU-aa11"], uuids) == ["gpu-0"]
    assert devices.named(["GPU-bb", "MIG-cc"], uuids) == ["gpu-GPU-bb", "gpu-MIG-cc"]  # of two, and of none
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", " 1, 0,")
    assert devices.present(devices.GPUS) == ["gpu-1", "gpu-0"]
    assert engine.environment("cuda")["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_a_run_for_which_the_machine_is_too_small_ends_with_that_reason(fake, monkeypatch):
    here = fake("done")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    run = gpu_run(here, "multi-gpu")
    here.start(run)
    now = here.wait(run)
    assert now.state == End.CRASHED and "takes 2 GPUs of this machine, which shows 1" in now.reason
    assert line(here) == []


def test_the_preflight_says_that_a_run_will_wait(fake):
    here = fake("hang")
    run = start(here)
    begun(here, run)
    (told,) = [one for one in preflight.check(resolve("cpu-demo", {}), here) if run.id in one.text]
    assert told.level == "warning" and "will wait in the queue" in told.text


def test_the_command_line_queues_lists_moves_and_withdraws(fake):
    here = fake("hang")
    begun(here, start(here))
    ids = []
    for _ in range(2):
        code, out, errors = call(*RUN, "--json")
        assert code == 0, errors
        ids.append(json.loads(out)["id"])
    assert json.loads(out) == {"id": ids[1], "state": "queued", "place": 2}
    code, out, _ = call("queue", ids[1], "--place", "1", "--json")
    assert [one["run"] for one in json.loads(out)["queue"]] == ids[::-1]
    assert ids[0] in call("queue")[1].splitlines()[2] and time.strftime("%Y") in call("queue")[1]
    assert call("queue", ids[0], "--withdraw")[0] == 0 and ids[0] not in call("queue")[1]
    assert call("queue", ids[0])[0] == call("queue", "--withdraw")[0] == 2
    assert "is not in the queue" in call("queue", ids[0], "--withdraw")[2]


def test_processes_of_another_boot_are_other_processes(fake):
    here = fake("hang")
    run = start(here)
    until(lambda: here.look(run).step == 3)
    now = state.read(run)
    before = now.model_copy(update={"boot": "0" * 8})
    assert not state.orphaned(now) and state.training(now)
    assert state.orphaned(before) and not state.training(before)


def test_runs_on_the_same_cluster_wait_for_each_other_and_for_no_other(fake):
    at, device = "http://head:8265", {"policy": "some/model", "cluster.ray_address": "http://head:8265"}
    assert devices.line(resolve("cpu-demo", device)) == at and devices.present(at) == [at]
    assert devices.line(resolve("cpu-demo", {})) == "cpu"
    assert devices.needed(resolve("cpu-demo", device)) == 1


def test_a_crowd_runs_each_job_once_and_never_two_on_a_device():
    """bench/many_jobs.py with few jobs."""
    outcome = crowd(jobs=10, processes=4)
    assert [now.state for now in outcome.states] == [End.DONE] * 10, [now.reason for now in outcome.states]
    assert sorted(one.run for one in outcome.trainers) == sorted({one.run for one in outcome.trainers})
    assert len(outcome.trainers) == 10 and most_at_once(outcome.trainers) == 1 and in_order(outcome)


def test_the_bench_sees_what_must_not_be():
    def ran(run, device, begun, ended):
        return Trainer(run, device, begun, ended)

    apart = (ran("a", "cpu", 1.0, 2.0), ran("b", "gpu-0", 1.5, 2.5), ran("c", "cpu", 2.0, 3.0))
    assert most_at_once(apart) == 1
    assert most_at_once((*apart, ran("d", "cpu", 2.9, 4.0))) == 2


def test_a_queue_that_cannot_be_written_keeps_nobody_from_an_answer(fake):
    here = fake("hang")
    has, waits = start(here), start(here)
    begun(here, has)
    (here.folder / "queue.lock").unlink()
    (here.folder / "queue.lock").mkdir()
    code, out, errors = call("show", waits.id, "--json")
    assert code == 0 and json.loads(out)["state"] == "queued", errors


def test_a_run_that_nobody_can_see_to_holds_its_device_no_longer_than_its_processes(fake):
    here = fake("hang", steps=3)
    run = start(here)
    until(lambda: here.look(run).step == 3)
    now = state.read(run)
    os.kill(now.supervisor.pid, signal.SIGKILL)
    until(lambda: not process.alive(now.supervisor))
    run.config.write_text("{")
    assert devices.free(here.folder, ["cpu"]) == [] and state.read(run).state == "running"
    process.end(run.id, now.trainer)
    assert devices.free(here.folder, ["cpu"]) == ["cpu"]


def test_the_dashboard_sees_to_the_queue_although_it_could_not_at_first(fake):
    here = fake("hang")
    attend = "from app.__main__ import attend; from launcher.runs import Runs; from launcher.store import Store"
    code = f"{attend}; here = Runs.here(); attend(here, Store(here.store_path))"
    with devices.held(here.folder, ["cpu"]):
        run = start(here)
        (here.folder / "queue.lock").unlink()
        (here.folder / "queue.lock").mkdir()
        dashboard = subprocess.Popen([sys.executable, "-c", code], cwd=rundir.PROJECT)
        until(lambda: here.store_path.exists())
        time.sleep(1)
        assert dashboard.poll() is None
        (here.folder / "queue.lock").rmdir()
    try:
        until(lambda: state.read(run).state == "running")
    finally:
        dashboard.kill()
        dashboard.wait()
