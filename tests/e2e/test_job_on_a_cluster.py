"""A real Ray head with a second node, and runs of the real engine as its jobs."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from launcher import process, ray_cluster, runs

PROJECT = Path(__file__).parent.parent.parent
EXTRAS = Path(os.environ.get("RAY_HEAD_PACKAGES") or PROJECT / ".engine" / "ray-head")
"""See requirements-ray-head.txt."""
PORT, DASHBOARD = 26479, 28365
SMALL = {
    "train.steps": 3, "rollout.batch_size": 8, "rollout.micro_batch_size": 8, "train.batch_size": 16,
    "train.micro_batch_size": 8, "data.cases": 60, "data.eval_cases": 4, "eval.steps": 3, "checkpoint.steps": 1,
    "cluster.rollout_engines": 2,
}  # fmt: skip
pytestmark = [pytest.mark.e2e, pytest.mark.engine]


@contextmanager
def node(python: str, *words: str):
    env = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "CUDA_VISIBLE_DEVICES")}
    env |= {"PYTHONPATH": str(EXTRAS), "RAY_worker_niceness": "0"}
    ray = [str(Path(python).with_name("ray")), "start", "--block", "--disable-usage-stats"]
    started = subprocess.Popen(
        [*ray, "--object-store-memory=100000000", *words], env=env, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield started
    finally:
        family = [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]
        started.terminate()
        _, left = psutil.wait_procs(family, timeout=20)
        for one in left:
            one.kill()
        started.wait()


@pytest.fixture(scope="module")
def head(engine_python, tmp_path_factory):
    """The address of a cluster of two nodes with two GPUs each, which exist on paper only."""
    if not (EXTRAS / "aiohttp_cors").is_dir():
        pytest.skip(f"a Ray head that takes jobs needs the packages of requirements-ray-head.txt in {EXTRAS}")
    address, folder = f"http://127.0.0.1:{DASHBOARD}", Path("/tmp") / f"so-head-{os.getpid()}"
    first = ("--head", f"--port={PORT}", f"--dashboard-port={DASHBOARD}", f"--temp-dir={folder}")
    with node(engine_python, *first, "--num-cpus=2", "--num-gpus=2"):
        wait_for(lambda: cluster(address), "the head")
        with node(engine_python, f"--address=127.0.0.1:{PORT}", "--num-cpus=3", "--num-gpus=2") as second:
            wait_for(lambda: cluster(address).gpus.total == 4, "the second node")
            assert second.poll() is None
            yield address


def cluster(address: str) -> ray_cluster.Cluster | None:
    try:
        return ray_cluster.ask(address)
    except ray_cluster.Silent:
        return None


def wait_for(true, what: str, seconds: float = 150.0):
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def somebody_else(head, engine_python):
    """A job of another user of the cluster, with an actor that takes a GPU."""
    code = "import ray, time; ray.init(); actor = ray.remote(num_gpus=1)(dict).remote(); time.sleep(3000)"
    asked = {"entrypoint": shlex.join([engine_python, "-c", code])}
    sent = httpx.post(f"{head}/api/jobs/", json=asked, timeout=60)
    assert sent.status_code == 200, sent.text
    wait_for(lambda: cluster(head).gpus.free == 3, "the other job's actor")
    return sent.json()["submission_id"]


@pytest.fixture(scope="module")
def launcher(head, engine_python, tmp_path_factory):
    if problem := runs.demo_model.check(runs.DEMO_MODEL_FOLDER):
        pytest.fail(f"{problem} `./run.sh setup` does it.")
    folder = tmp_path_factory.mktemp("runs")
    where = {"cluster.ray_address": head, "cluster.ray_python": engine_python}

    def call(*words: str, **changes):
        """Exit code and parsed answer; `changes` are settings of a run."""
        if words[0] in ("run", "command"):
            values = SMALL | where | {key.replace("__", "."): value for key, value in changes.items()}
            words += tuple(word for key, value in values.items() for word in ("--set", f"{key}={json.dumps(value)}"))
        env = os.environ | {"SECOND_OPINION_RUNS": str(folder), "HF_TOKEN": "hf_not_to_be_seen"}
        argv = [sys.executable, "-m", "launcher", *words, "--json"]
        done = subprocess.run(argv, cwd=PROJECT, env=env, capture_output=True, text=True)
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    call.folder = folder
    yield call
    for run in call("list")[1]["runs"]:
        if run["state"] == "running":
            call("stop", run["id"], "--now")


@pytest.fixture(scope="module")
def whole(launcher, somebody_else):
    code, shown = launcher("run", "--preset", "cpu-demo", "--wait")
    assert code == 0, shown
    return shown


def test_a_job_makes_its_steps_and_its_log_is_here(launcher, whole):
    assert (whole["state"], whole["step"]) == ("done", 3)
    assert [step for step, _ in whole["metrics"]["reward"]] == [1, 2, 3]
    assert all(abs(value) < 0.01 for _, value in whole["metrics"]["vllm_kl"])
    assert whole["bad_lines"] == [] and whole["failures"] == []


def test_every_game_of_both_engines_is_there_once(launcher, whole):
    games = launcher("games", whole["id"])[1]["games"]
    assert len(list((launcher.folder / whole["id"] / "games").glob("*.jsonl"))) == 2
    assert Counter(game["step"] for game in games if game["mode"] == "train") == {1: 8, 2: 8, 3: 8}
    assert len([game for game in games if game["mode"] == "eval"]) == 2 * 4
    assert len({game["game"] for game in games}) == len(games)
    assert all(len(game["turns"]) == 2 and game["verdict"] for game in games if game["mode"] == "train")
    assert all(turn["raw"] for game in games for turn in game["turns"])
    assert all(point["agree"] for point in whole["agreement"]) and whole["agreement"]


def test_no_secret_reaches_the_cluster(head, launcher, whole):
    jobs = httpx.get(f"{head}/api/jobs/").text
    assert whole["id"] in jobs and "CUSTOM_CONFIGS" in jobs and "hf_not_to_be_seen" not in jobs
    ours = (file for file in (launcher.folder / whole["id"]).rglob("*") if file.is_file() and file.stat().st_size < 1e7)
    assert not any(b"hf_not_to_be_seen" in file.read_bytes() for file in ours)


def status(head: str, job: str) -> str:
    return httpx.get(f"{head}/api/jobs/{job}").json()["status"]


def test_a_stop_ends_the_job_with_its_actors_and_nothing_else_and_a_resume_goes_on(
    head, launcher, somebody_else, whole
):
    id = launcher("run", "--preset", "cpu-demo", train__steps=40)[1]["id"]
    wait_for(lambda: launcher("show", id)[1]["step"] >= 2, "the second step")
    assert launcher("stop", id)[0] == 0
    stopped = wait_for(lambda: (now := launcher("show", id)[1])["state"] != "running" and now, "the stop")
    state = json.loads((launcher.folder / id / "state.json").read_text())
    assert (state["state"], state["left_over"]) == ("stopped", [])
    assert status(head, f"{id}-1") == "STOPPED" and process.marked(id) == []
    assert status(head, somebody_else) == "RUNNING"
    wait_for(lambda: cluster(head).gpus.free == 3, "the GPUs to be free again", 30)
    made = stopped["step"]
    assert launcher("resume", id)[0] == 0
    wait_for(lambda: launcher("show", id)[1]["step"] > made + 1, "steps after the resume")
    launcher("stop", id, "--now")
    again = wait_for(lambda: (now := launcher("show", id)[1])["state"] != "running" and now, "the end")
    steps = [step for step, _ in again["metrics"]["reward"]]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) > made
    counts = Counter(game["step"] for game in launcher("games", id)[1]["games"] if game["mode"] == "train")
    assert all(counts[step] >= 8 for step in steps)


def test_a_job_that_fails_says_why(head, launcher, whole):
    code, shown = launcher("run", "--preset", "cpu-demo", "--wait", cluster__ray_python="/no/such/python")
    assert code == 1 and shown["state"] == "crashed"
    assert "127" in shown["reason"]
