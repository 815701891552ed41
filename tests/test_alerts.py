import json

import pytest

from launcher import alerts, health_machine, health_watch, store_health
from launcher.config import resolve
from launcher.health import Finding, Kind, Place
from launcher.health_machine import Machine, Silences
from launcher.health_watch import Watch
from launcher.ingest import ingest
from launcher.rundir import RunDir
from launcher.state import State
from launcher.store import Store
from launcher.trainer_log import Phase
from tests import played

RUN = "20260102-030405-abcd"
KL = Finding(Kind.KL, 7, "vllm_kl is 0.5 at step 7", Place("live", (("plot", "kl"),)))
DISK = Finding(Kind.DISK, 7, "10 MB are left", Place("live"))


def look(open, findings, step, clock=0.0):
    return alerts.changed(RUN, open, findings, step, now=100.0 + step, clock=clock)


def test_an_alert_is_raised_once_and_cleared_after_three_calm_steps():
    open, told = look({}, [KL], 7)
    assert [(line.change, line.what, line.step) for line in told] == [("raised", Kind.KL, 7)]
    assert told[0].link == f"/?run={RUN}&tab=live&plot=kl" and "vllm_kl is 0.5" in told[0].text
    open, told = look(open, [KL._replace(step=8)], 8)
    assert told == ()
    for step in (9, 10):
        open, told = look(open, [], step)
        assert told == () and Kind.KL in open
    open, told = look(open, [], 11)
    assert [(line.change, line.alert) for line in told] == [("cleared", "kl-107000")] and not open


def test_a_finding_that_comes_back_at_once_is_the_same_alert():
    open, _ = look({}, [KL], 7)
    for step, found in ((8, []), (9, []), (10, [KL]), (11, []), (12, [])):
        open, told = look(open, found, step)
        assert told == ()
    assert look(open, [], 13).open == {}


def test_what_is_no_matter_of_steps_is_cleared_by_the_clock():
    open, _ = look({}, [DISK], 7)
    open, told = look(open, [], 7, clock=10.0)
    open, told = look(open, [], 7, clock=69.0)
    assert told == ()
    assert look(open, [], 7, clock=71.0).lines[0].change == "cleared"
    stalled = Finding(Kind.STALLED, 7, "silent", Place("logs"))
    assert look(look({}, [stalled], 7).open, [], 7).lines[0].change == "cleared"


@pytest.fixture
def run(tmp_path):
    found = RunDir(tmp_path / RUN)
    found.games.mkdir(parents=True)
    found.config.write_text("{}", encoding="utf-8")
    return found


def looked(watch: Watch, step: int) -> None:
    watch.next_look = watch.next_machine = 0.0
    watch.look(State(steps=60, step=step, phase=Phase.TRAINING, started=0.0, last_event=0.0))


def test_a_watch_raises_keeps_and_clears_and_another_one_goes_on_where_it_ended(run, tmp_path):
    well, bad = played.Play(), played.Play(copies=0.95)
    with Store(tmp_path / "runs.db") as store:
        watch = Watch(run, resolve("cpu-demo"), store)
        watch.begin()
        for step in range(1, 20):
            if step == 9:
                watch = Watch(run, resolve("cpu-demo"), store)
                watch.begin()
            played.step(run, step, bad if 4 <= step <= 10 else well)
            ingest(store, run.path)
            looked(watch, step)
        ingest(store, run.path)
        found = store_health.alerts(store, RUN)
        assert [(one.kind, one.cleared is not None) for one in found] == [("copied notes", True)]
        assert "attackers' notes are copies" in found[0].text and "first_step=" in found[0].link
    told = alerts.lines(run)
    assert [line.change for line in told] == ["raised", "cleared"] and alerts.still_open(told) == {}
    with Store(tmp_path / "again.db") as store:  # files are the truth
        ingest(store, run.path)
        assert store_health.alerts(store, RUN) == found
        assert [event.level for event in store.events(RUN) if event.kind == "alert"] == ["warning", "info"]


@pytest.mark.parametrize("later", [1.0, -3600.0], ids=["", "although the clock was set back"])
def test_a_judge_that_tells_of_its_failure_is_down_until_it_answers(run, tmp_path, later):
    with Store(tmp_path / "runs.db") as store:
        watch = Watch(run, resolve("cpu-demo"), store)
        for at, (level, text) in enumerate(
            [("error", "the judge failed 20 times"), ("info", "the judge answers again")]
        ):
            with run.events.open("a", encoding="utf-8") as file:
                file.write(
                    json.dumps({"time": 5000.0 + at * later, "kind": "judge", "level": level, "text": text}) + "\n"
                )
            for step in range(4 * at + 1, 4 * at + 5):
                ingest(store, run.path)
                looked(watch, step)
            assert ([*watch.open] == [Kind.JUDGE]) is (level == "error")


def test_the_end_of_a_run_ends_what_only_a_running_one_suffers_from(run, tmp_path):
    with Store(tmp_path / "runs.db") as store:
        watch = Watch(run, resolve("cpu-demo"), store)
        stalled = Finding(Kind.STALLED, 3, "silent", Place("logs"))
        watch._tell((KL, stalled, DISK), 7)
        watch.close(7)
    assert set(alerts.still_open(alerts.lines(run))) == {Kind.KL}


def test_a_phase_is_known_after_three_passes_and_its_silence_is_measured_against_its_own():
    silences = Silences().heard(Phase.LOADING, 1.0)
    assert silences.bound() == health_machine.UNKNOWN
    for _ in range(3):
        for phase in (Phase.GENERATING, Phase.TRAINING):
            silences = silences.heard(phase, 2.0)
    silences = silences.heard(Phase.GENERATING, 30.0)  # the training took 30 s this time
    assert silences.bound() == health_machine.KNOWN
    silences = silences.heard(Phase.TRAINING, 2.0)
    assert silences.bound() == 300.0
    assert not [*health_machine.stalled(silences, 299.0, 4)]
    told = next(health_machine.stalled(silences, 301.0, 4)).text
    assert "301 s in the phase training; the longest silence there was 30 s" in told


@pytest.mark.parametrize(("machine", "kinds"), [
    (Machine(50_000, 1000, 8000, 16_000), []),
    (Machine(1500, 0, 8000, 16_000), [Kind.DISK]),
    (Machine(5000, 4000, 8000, 16_000), [Kind.DISK]),
    (Machine(50_000, 1000, 400, 16_000), [Kind.MEMORY]),
    (Machine(50_000, 1000), []),
])  # fmt: skip
def test_disk_and_memory_that_run_out(machine, kinds):
    assert [one.kind for one in health_machine.running_out(machine, 3)] == kinds


def test_the_memory_of_a_container_is_its_own(tmp_path):
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**29}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {2**20}\n")
    free, whole = health_watch.main_memory(tmp_path)
    assert whole == 1024 and 0 < free <= 513
    (tmp_path / "memory.max").write_text("max\n")
    assert health_watch.main_memory(tmp_path)[1] > 1024


def test_a_checkpoint_is_measured_and_one_that_vanishes_is_none(run):
    newest = run.checkpoints / "_actor" / "global_step4"
    newest.mkdir(parents=True)
    (newest / "weights").write_bytes(bytes(3 * 2**20))
    assert 2.9 < health_watch.machine(run).checkpoint_mb < 3.2
