"""Runs whose processes are killed at bad moments, and what is said of their ends. `bench/chaos.py` does so by chance."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_supervise import start, until

from launcher import process, state, supervise
from launcher.process import Identity
from launcher.rundir import RunDir
from launcher.runs import Refused, Runs
from launcher.state import End, State

CGROUPS = Path("/sys/fs/cgroup")


def kill(who: Identity) -> None:
    os.kill(who.pid, signal.SIGKILL)
    until(lambda: not process.alive(who))


def trained(here: Runs, run: RunDir, step: int = 1) -> State:
    """The run's state once it has made so many steps."""
    until(lambda: here.look(run).step >= step)
    return state.read(run)


def forget_trainer(run: RunDir) -> None:
    """state.json as it is between the start of the trainer and the moment in which it is written down."""
    state.write(run, state.read(run).model_copy(update={"trainer": None}))


def test_a_trainer_that_was_not_written_down_is_found_and_not_started_twice(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_LEDGER", str(tmp_path / "ledger"))
    here = fake("done", steps=20, hold=10)
    run = start(here, train__steps=20)
    first = trained(here, run)
    kill(first.supervisor)
    forget_trainer(run)
    assert here.look(run).state == state.RUNNING
    until(lambda: state.read(run).trainer)
    fake.gate.touch()
    now = here.wait(run)
    assert (now.state, now.trainer) == (End.DONE, first.trainer)
    begun = [line for line in (tmp_path / "ledger").read_text().splitlines() if line.startswith("begun")]
    assert len(begun) == 1 and begun[0].split()[1] == run.id


def test_a_supervisor_killed_before_it_starts_the_trainer_is_replaced(fake):
    here = fake("done")
    run = start(here)
    kill(state.read(run).supervisor)
    assert state.read(run).trainer is None
    now = here.wait(run)
    assert (now.state, now.step) == (End.DONE, 3) and now.tries == 0


def test_a_run_whose_supervisors_are_all_killed_at_once_is_given_up(fake):
    here = fake("done")
    run = start(here)
    for _ in range(supervise.MOST_TRIES):
        kill(here.look(run).supervisor)
    now = here.look(run)
    assert now.state == End.CRASHED
    assert now.reason == "3 supervisors ended before they started its trainer; nothing was saved: start it anew"


def test_a_run_ends_with_its_supervisor_if_that_was_chosen(fake):
    here = fake("hang", steps=6)
    run = start(here, train__steps=10, if_supervisor_dies="end")
    kill(trained(here, run, 4).supervisor)
    now = here.wait(run)
    assert now.state == End.STOPPED and now.reason == "its supervisor was killed, and the run was to end then"
    assert process.marked(run.id) == []
    fake("done", steps=10)
    here.resume(run.id)
    assert here.wait(run).state == End.DONE


def test_a_machine_that_was_started_again_is_found_as_such(fake):
    here = fake("hang", steps=4)
    run = start(here, train__steps=10)
    now = trained(here, run, 4)
    kill(now.supervisor)
    process.end(run.id, now.trainer)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        mine = process.identify(other.pid)  # the pids of before belong to others now
        state.write(run, now.model_copy(update={"boot": "before", "supervisor": mine, "trainer": mine}))
        after = here.look(run)
        assert (after.state, after.step) == (End.CRASHED, 4)
        assert after.reason == "the machine was started again while the run was going; resume goes on from step 4"
        assert other.poll() is None
        other.kill()
    fake("done", steps=10)
    here.resume(run.id)
    assert here.wait(run).state == End.DONE


def test_what_comes_before_the_trainer_can_be_stopped(fake):
    here = fake("hang")
    sizes = {
        "train__batch_size": 8,
        "train__micro_batch_size": 8,
        "rollout__batch_size": 8,
        "rollout__micro_batch_size": 8,
    }
    run = start(here, mode="assessor_only", **sizes)
    until(lambda: any("medical_team.render" in one.cmdline() for one in process.marked(run.id)))
    here.stop(run.id, "now")
    now = here.wait(run)
    assert (now.state, now.trainer) == (End.STOPPED, None)
    assert process.marked(run.id) == []


SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_a_process_whose_title_was_written_over_the_mark_is_ended_too(fake):
    """As Ray's agents do. What keeps nothing of it is found below its parent."""
    here = fake("hang")
    run = start(here)
    trained(here, run, 3)
    parent = f"import subprocess, time; subprocess.run({SLEEP!r}, env={{}})"
    titled = subprocess.Popen(SLEEP, env={"TORCHINDUCTOR_CACHE_DIR": f"{run.scratch}/torch", "PWD": "/"})
    above = subprocess.Popen([sys.executable, "-c", parent], env=process.mark(run.id))
    until(lambda: process.family(process.identify(above.pid))[1:])
    below = process.identify(process.family(process.identify(above.pid))[1].pid)
    here.stop(run.id, "now")
    assert here.wait(run).state == End.STOPPED
    assert titled.wait() and above.wait() and not process.alive(below)


@pytest.mark.parametrize(
    "environment", [{"PWD": "{scratch}", "OLDPWD": "{scratch}"}, process.mark("20260101-000000-abcd")]
)
def test_a_stop_ends_neither_a_shell_in_the_runs_folder_nor_what_belongs_to_another_run(fake, environment):
    here = fake("hang")
    run = start(here)
    trained(here, run, 3)
    own = {name: value.replace("{scratch}", str(run.scratch)) for name, value in environment.items()}
    with subprocess.Popen(SLEEP, env=own) as other:
        here.stop(run.id, "now")
        assert here.wait(run).state == End.STOPPED
        assert other.poll() is None
        other.kill()


def test_a_phase_is_never_that_of_the_start_before(fake):
    here = fake("hang", steps=4)
    run = start(here, train__steps=8)
    trained(here, run, 4)
    here.stop(run.id, "checkpoint")
    kill(state.read(run).trainer)
    before = here.wait(run)
    fake("hang", steps=0, pace=0)
    here.resume(run.id)
    until(lambda: state.read(run).trainer is not None)
    time.sleep(1)  # nothing is printed by this start
    now = here.look(run)
    assert (now.state, now.phase, now.step, before.step) == (state.RUNNING, state.STARTING, 4, 4)


def test_a_run_that_has_just_ended_can_be_resumed_at_once(fake):
    here = fake("kill", steps=4)
    run = start(here, train__steps=8)
    until(lambda: state.read(run).ended_already)
    fake("done", steps=8)
    here.resume(run.id)
    assert here.wait(run).state == End.DONE


def test_a_start_from_a_state_that_is_no_longer_the_runs_is_refused(fake):
    here = fake("kill", steps=4)
    run = start(here, train__steps=8)
    before = here.wait(run)
    fake("kill", steps=6, hold=5)
    here.resume(run.id)
    with pytest.raises(Refused, match="is running"):
        here.resume(run.id)
    fake.gate.touch()
    after = here.wait(run)
    with pytest.raises(supervise.Busy, match="was started or ended by another process"):
        supervise.spawn(run, before, before, patience=5.0)
    assert state.read(run) == after and after.attempts == (0, 4)


def test_a_run_killed_by_somebody_says_how_to_go_on(fake):
    here = fake("kill", steps=4)
    now = here.wait(start(here, train__steps=8))
    by_somebody = "the trainer was killed by SIGKILL, by somebody: the system did not run out of memory meanwhile"
    assert now.reason == f"{by_somebody}; resume goes on from step 4"


def test_a_run_that_failed_for_want_of_room_says_so(fake):
    here = fake("full_disk", steps=2)
    now = here.wait(start(here, train__steps=8))
    assert "No space left on device" in now.reason
    assert now.reason.endswith("make room on the disk; resume goes on from step 2")


@contextmanager
def little_memory(megabytes: int):
    """A memory cgroup of this size, of whichever version there is."""
    old = (CGROUPS / "memory").is_dir()
    folder = CGROUPS / ("memory" if old else "") / f"so-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(megabytes << 20))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        yield folder
    finally:
        until(lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


def test_a_run_that_the_kernel_ended_for_want_of_memory_says_so(fake, monkeypatch):
    with little_memory(60) as folder:
        monkeypatch.setenv("FAKE_CGROUP", str(folder))
        here = fake("eat", steps=2)
        now = here.wait(start(here, train__steps=8))
    assert (now.state, now.exit_code, now.step) == (End.CRASHED, -9, 2)
    assert now.reason == (
        "the trainer was killed by SIGKILL: memory ran out, and the system ended one process; close other programs or lower "
        "the batch sizes; resume goes on from step 2"
    )


def test_what_a_dead_trainer_left_is_ended_however_deaf_it_is(fake):
    here = fake("hang")
    run = start(here)
    now = trained(here, run, 3)
    left = subprocess.Popen(
        [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"],
        env=os.environ | process.mark(run.id),
    )  # fmt: skip
    kill(now.trainer)
    assert here.wait(run).state == End.CRASHED
    assert left.wait() == -signal.SIGKILL
