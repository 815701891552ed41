import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from starlette.requests import Request
from test_store import TIE, attacked, game, write_games
from test_supervise import start

from app import live_chart, status, ui
from app.__main__ import port_problem, refusal
from app.credentials import Login
from app.live_chart import BY_ID, PLOTS, Axis, Clock
from app.pages import live
from launcher import process, rundir, state, supervise, watch
from launcher.config import RunConfig
from launcher.ingest import ingest
from launcher.rundir import RunDir
from launcher.runs import Runs
from launcher.state import State
from launcher.store import Store

PROJECT = Path(__file__).parent.parent
ID = "20261122-165549-99ea"
LINE = "(PPOTrainer pid=7) INFO 11-22 13:56:51 ppo_trainer.py:551] ✨ Global step {step}: {values}\n"


@pytest.fixture
def here(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    return Runs(folder)


@pytest.fixture
def store(here):
    with Store(here.store_path) as store:
        yield store


def make(here: Runs, id: str = ID, steps: int = 10, **changes) -> RunDir:
    """A run's folder as a supervisor would leave it that is this very process."""
    run = RunDir(here.folder / id)
    run.path.mkdir()
    rundir.write_json(run.config, {"id": id, "created": 5.0} | RunConfig(name="mine").model_dump(mode="json"))
    now = {"steps": steps, "phase": "generating", "started": 5.0, "last_event": time.time(), "step": 0}
    me = process.identify(os.getpid())
    state.write(run, State.model_validate(now | {"supervisor": me, "trainer": me} | changes))
    run.log(1).write_text("")
    return run


def add_step(run: RunDir, store: Store, step: int, games=(), seconds: float = 2.0, **values) -> None:
    values = {"reward": 0.5, "vllm_kl": 1e-5, "timing/generation": seconds, "timing/step_total": seconds} | values
    write_games(run.path, [one | {"run": run.id} for one in games])
    with run.log(1).open("a", encoding="utf-8") as log:
        log.write(LINE.format(step=step, values=values))
    state.change(run, state.read(run), step=step, last_event=time.time())
    ingest(store, run.path)


def ask(store, run, since=None, weight=0.0, axis=Axis.STEP, clock=None):
    since = since if since is not None else dict.fromkeys(BY_ID, -1.0)
    return live_chart.refresh(store, clock or Clock(), run, since, weight, axis)


# the status bar


def test_the_status_of_a_live_run(here, store):
    run = make(here)
    for step in (1, 2, 3):
        add_step(run, store, step, [game(f"a{step}", step), game(f"b{step}", step, **TIE)], seconds=float(step))
    rundir.append_line(run.memory, {
        "time": time.time(), "phase": "generating", "source": "pss", "total_mb": 512.0, "processes": [],
    })  # fmt: skip
    ingest(store, run.path)
    found = watch.snapshot(here, store, run)
    assert (found.state, found.step, found.steps, found.running) == ("generating", 3, 10, True)
    assert (found.seconds_a_step, found.seconds_left, found.memory_mb, found.no_verdict) == (2.0, 14.0, 512.0, 0.5)
    assert (found.bad_lines, found.attempt, found.reason, found.last_lines, found.can_resume) == (0, 1, None, (), False)
    assert found.disk_free_mb > 0 and found.silent_seconds < 60


def test_a_run_that_was_made_and_not_started(here, store):
    run = make(here)
    run.state.unlink()
    assert (watch.snapshot(here, store, run).state, watch.snapshot(here, store, run).seconds_left) == ("created", None)


def test_a_wish_to_stop_is_shown_until_it_is_fulfilled(here, store):
    run = make(here)
    here.stop(ID, "checkpoint")
    assert watch.snapshot(here, store, run).stop_wish == "checkpoint"
    assert watch.snapshot(here, store, run).state == "generating"
    here.stop(ID, "now")
    assert watch.snapshot(here, store, run).state == "stopping"


def test_a_run_without_a_supervisor_whose_log_does_not_grow_has_stalled(here, store):
    run = make(here, last_event=time.time() - 2 * watch.SILENCE, supervisor=None)
    run.log(1).write_text("the last words\n")
    with supervise.sole(run):  # nobody else takes it over meanwhile
        assert watch.snapshot(here, store, run).state == "generating"
        os.utime(run.log(1), (5.0, time.time() - 2 * watch.SILENCE))
        found = watch.snapshot(here, store, run)
        assert found.state == "stalled" and found.last_lines == ("the last words",)
        assert found.silent_seconds == pytest.approx(2 * watch.SILENCE, abs=30)
        with store.write():
            store.add_metrics(ID, [(0, {"timing/step_total": watch.SILENCE})])
        assert watch.snapshot(here, store, run).state == "generating"  # ten of its steps take longer than that


def test_whether_a_run_has_stalled_is_its_supervisor_s_to_say(here, store):
    """Who has learnt how silent the run's phases may be: here one that is longer than others may be."""
    run = make(here, last_event=time.time() - 2 * watch.SILENCE)
    os.utime(run.log(1), (5.0, time.time() - 2 * watch.SILENCE))
    assert watch.snapshot(here, store, run).state == "generating"


def test_a_crashed_run_shows_why_and_the_end_of_its_log(fake):
    here = fake("raise")
    run = start(here)
    here.wait(run)
    with Store(here.store_path) as store:
        found = watch.snapshot(here, store, run)
    assert found.state == "crashed" and "the reward was lost" in found.reason and found.can_resume
    assert found.last_lines[-1] == "ValueError: the reward was lost"


def test_the_end_of_a_log_is_shown_as_it_is_and_obeyed_by_nothing(tmp_path):
    log = tmp_path / "train.log"
    log.write_bytes(b"one\n" * 30000 + b"first\rlast\r\n\n\x1b[31mred\x1b[0m\x07\n" + "\u202etxet\t!\n".encode())
    assert watch.last_lines(log, 4) == ("one", "last", "red\\u0007", "\\u202etxet\t!")
    assert len(watch.last_lines(log)) == watch.LAST_LINES
    assert watch.last_lines(tmp_path / "none.log") == ()


def test_the_list_of_runs_is_sent_once(here, store):
    make(here)
    ingest(store, here.folder / ID)
    first = status.whole(here, store, ID)
    assert first["runs"] == [{"run": ID, "name": "mine", "state": "running"}] and first["status"]["run"] == ID
    assert "runs" not in status.unlisted(first, first["key"]) and "runs" in status.unlisted(first, "")
    assert status.whole(here, store, "../" + ID)["status"] is None


def test_a_button_that_cannot_do_its_work_says_why(here, store):
    make(here, state="done", step=10)
    assert "is not running" in status.tried(lambda: here.stop(ID, "now"))["refused"]
    assert "no run" in status.tried(lambda: here.stop("nonsense", "now"))["refused"]


# the curves


def test_every_plot_of_a_run_without_points_is_empty(here, store):
    make(here)
    ingest(store, here.folder / ID)
    answer = ask(store, ID)
    assert answer["last"] == 0 and set(answer["plots"]) == set(BY_ID)
    assert all(plot["x"] == [] for plot in answer["plots"].values())
    assert all(card is None for card in answer["cards"].values())


def test_the_plotted_reward_is_the_mean_of_the_steps_games(here, store):
    run = make(here)
    games = [attacked("a", 1, attacker=0.1, assessor=1.0), attacked("b", 1, attacker=0.7, assessor=2.0)]
    add_step(run, store, 1, games)
    plots = ask(store, ID)["plots"]
    assert plots["rewards"]["raw"] == {"attacker": [pytest.approx(0.4, abs=1e-6)], "assessor": [1.5]}
    assert plots["assessor"]["raw"]["adversarial harmful"] == [1.5]
    assert plots["rates"]["raw"]["assessor correct"] == [1.0]
    assert plots["timings"]["raw"] == {"generation": [2.0]}


def test_a_step_shows_when_it_has_finished(here, store):
    run = make(here)
    add_step(run, store, 1, [game("a", 1), game("b", 2)])
    assert ask(store, ID)["plots"]["rewards"]["x"] == [1]


def test_only_new_points_are_sent_and_the_last_ones_again(here, store):
    run = make(here)
    for step in range(1, 11):
        add_step(run, store, step, [game(f"g{step}", step)])
    rows = ask(store, ID, {"rewards": 10.0})["plots"]["rewards"]
    assert rows["x"] == [9, 10] and rows["from"] == 8


def test_a_run_that_went_back_to_a_checkpoint_sends_the_steps_that_are_made_again(here, store):
    run = make(here)
    for step in range(1, 9):
        add_step(run, store, step, [game(f"g{step}", step)])
    run.log(2).write_text("Started a local Ray instance\n")
    state.change(run, state.read(run), attempts=(0, 4), step=4)
    ingest(store, run.path)
    answer = ask(store, ID, {"rewards": 8.0})
    assert answer["last"] == 4 and answer["plots"]["rewards"]["x"] == [3, 4] and answer["plots"]["rewards"]["from"] == 2


def test_hours_are_the_sum_of_the_steps_durations(here, store):
    run, clock = make(here), Clock()
    for step in (1, 2):
        add_step(run, store, step, seconds=1800.0)
    both = {"loss": -1, "timings": -1}
    assert ask(store, ID, both, axis=Axis.HOURS, clock=clock)["plots"]["timings"]["at"] == [0.5, 1.0]
    add_step(run, store, 3, seconds=3600.0)
    assert ask(store, ID, {"timings": 3.0}, axis=Axis.HOURS, clock=clock)["plots"]["timings"]["at"] == [1.0, 2.0]


def test_clock_time_is_the_end_of_a_steps_last_game(here, store):
    run = make(here)
    add_step(run, store, 1, [game("a", 1, ended=100.0), game("b", 1, ended=104.5)])
    add_step(run, store, 2)
    add_step(run, store, 3, [game("c", 3, ended=110.0), game("eval", 3, mode="eval", ended=120.0)])
    plots = ask(store, ID, {"loss": -1, "rewards": -1, "timings": -1, "memory": -1}, axis=Axis.CLOCK)["plots"]
    assert plots["rewards"]["at"] == [104.5, 110.0]
    assert plots["timings"]["at"] == [104.5, None, 110.0]
    assert "at" not in plots["memory"]
    assert "at" not in ask(store, ID, {"rewards": -1})["plots"]["rewards"]


def test_a_table_holds_every_point_as_it_was_measured(here, store):
    run = make(here)
    for step in (1, 2):
        add_step(run, store, step, policy_loss=step / 3)
    assert live_chart.text(store, ID, BY_ID["loss"]).splitlines() == ["step,policy loss", f"1,{1 / 3}", f"2,{2 / 3}"]


def test_a_refresh_of_a_long_run_is_small(here, store):
    make(here, steps=100_000)
    ingest(store, here.folder / ID)
    names = ["policy_loss", "actor_grad_norm", "vllm_kl", "timing/step_total", "timing/generation", "timing/ppo_train"]
    with store.write():
        store.add_metrics(ID, ((step, {name: step % 97 / 7 for name in names}) for step in range(1, 20_001)))
        store.connection.execute("INSERT INTO progress VALUES (?, 1, 'training', 20000, NULL, NULL, NULL, NULL)", (ID,))
        store.connection.executemany(
            "INSERT INTO step_roles VALUES (?, ?, ?, ?, 3, ?, 1, 100)",
            ((ID, category, role, step, step % 31 / 7) for category in ("", *live_chart.Category)
             for role in live_chart.Role for step in range(1, 20_001)),
        )  # fmt: skip
    whole = ask(store, ID, weight=0.9, axis=Axis.HOURS)
    assert len(whole["plots"]["rewards"]["x"]) > 300
    assert len(json.dumps(whole)) < 200_000
    assert len(json.dumps(ask(store, ID, dict.fromkeys(BY_ID, 20_000.0), weight=0.9))) < 6_000


def test_a_click_on_a_step_asks_for_the_games_that_count(here, store):
    assert live.wanted(3, "train").items() >= {"step": 3, "mode": "train", "counted": True}.items()
    assert live.wanted(3, "eval").items() >= {"step": 3, "mode": "eval", "counted": False}.items()
    assert {plot.games for plot in PLOTS} == {"train", "eval", ""}


# the first screen


def selected(here, store, seen=0.0, **query):
    return ui.first_screen(here, store, seen, query)


def test_the_first_screen_is_the_run_that_needs_looking_at(here, store):
    assert selected(here, store) == ("", "run")
    make(here, "20261122-000001-aaaa", state="done", ended=10.0)
    here.refresh(store)
    assert selected(here, store) == ("20261122-000001-aaaa", "run")
    make(here, "20261122-000002-aaaa", state="crashed", ended=20.0)
    here.refresh(store)
    assert selected(here, store, seen=15.0) == ("20261122-000002-aaaa", "live")
    assert selected(here, store, seen=25.0)[1] == "run"
    alive = make(here, "20261122-000000-aaaa")
    here.refresh(store)
    assert selected(here, store) == (alive.id, "live")


def test_a_run_that_died_unseen_is_found_crashed_by_the_first_screen(here, store):
    run = make(here, supervisor=None)
    ingest(store, run.path)
    state.change(run, state.read(run), trainer=None, tries=supervise.MOST_TRIES)
    assert store.run(ID).state == "running"
    assert selected(here, store) == (ID, "live")
    assert store.run(ID).state == "crashed"


def test_a_run_whose_folder_is_gone_is_not_on_the_first_screen(here, store):
    for id, how in (("20261122-000001-aaaa", "done"), ("20261122-000002-aaaa", "running")):
        run = make(here, id, state=how, ended=10.0)
        ingest(store, run.path)
    shutil.rmtree(run.path)
    assert store.run(run.id).state == "running"
    assert selected(here, store) == ("20261122-000001-aaaa", "run")


def test_a_link_says_what_it_opens(here, store):
    make(here)
    assert selected(here, store, run=ID, tab="logs") == (ID, "logs")
    assert selected(here, store, run=ID) == (ID, "live")
    assert selected(here, store, run="../x", tab="/etc")[1] == "run"


def test_the_first_screen_knows_when_a_browser_was_here_last(here, store):
    make(here, state="crashed", ended=20.0)
    here.refresh(store)

    def opened(**cookies):
        header = "; ".join(f"{name.replace('_', '-')}={value}" for name, value in cookies.items()).encode()
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "scheme": "http",
                 "server": ("127.0.0.1", 7860), "headers": [(b"cookie", header)]}  # fmt: skip
        return ui.first_screen_of(here, store, Request(scope))[1]

    assert opened() == opened(second_opinion_seen_7860="10") == opened(second_opinion_seen_7860="nan") == "live"
    assert opened(second_opinion_seen_7860="25") == "run" and opened(second_opinion_seen_7861="25") == "live"


# serving


def test_another_address_needs_a_login():
    login = Login("me", "secret")
    assert refusal("127.0.0.1", None) is None and refusal("::1", None) is None
    assert refusal("localhost", login) is None and refusal("0.0.0.0", login) is None
    assert "--login-file" in refusal("0.0.0.0", None) and "--user" in refusal("example.org", None)


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path):
    env = os.environ | {"SECOND_OPINION_RUNS": str(tmp_path)}
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        argv = [sys.executable, "-m", "app", "--port", str(port)]
        done = subprocess.run(argv, cwd=rundir.PROJECT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and done.stderr == f"port {port} is taken: --port {port + 1}, or another\n"
    assert port_problem("127.0.0.1", 0) is None and "203.0.113.1" in port_problem("203.0.113.1", 0)


def test_an_open_address_without_a_login_does_not_start(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "app", "--host", "0.0.0.0"], cwd=PROJECT, capture_output=True, text=True,
        env=os.environ | {"SECOND_OPINION_RUNS": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1 and "--user NAME" in done.stderr and not list(tmp_path.iterdir())
