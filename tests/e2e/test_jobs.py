"""The real engine, whole jobs: started with the command line, as a user would."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

from launcher import engine, runs
from launcher.__main__ import main

PROJECT = Path(__file__).parent.parent.parent
MEDEC = PROJECT.parent / "shared" / "medec" / "MEDEC-MS-ValidationSet-with-GroundTruth-and-ErrorType.csv"
SMALL = {
    "train.steps": 3, "rollout.batch_size": 8, "rollout.micro_batch_size": 8, "train.batch_size": 16,
    "train.micro_batch_size": 8, "data.cases": 60, "data.eval_cases": 4, "eval.steps": 3, "checkpoint.steps": 2,
}  # fmt: skip
pytestmark = [pytest.mark.e2e, pytest.mark.engine]


@pytest.fixture(scope="module")
def launcher(engine_python, tmp_path_factory):
    """Calls the command line in a runs folder of its own; returns exit code, parsed JSON, standard error.

    What only looks is called in this process: each new Python would take its time from a job that wants both cores.
    """
    if problem := runs.demo_model.check(runs.DEMO_MODEL_FOLDER):
        pytest.fail(f"{problem} `./run.sh setup` does it.")
    folder = tmp_path_factory.mktemp("runs")

    def call(*words: str, **environ: str):
        env = os.environ | {"SECOND_OPINION_RUNS": str(folder)} | environ
        if words[0] in ("show", "games"):
            with mock.patch.dict(os.environ, env), redirect_stdout(io.StringIO()) as said:
                code = main([*words, "--json"])
            return code, json.loads(said.getvalue()), ""
        done = subprocess.run(
            [sys.executable, "-m", "launcher", *words, "--json"], cwd=PROJECT, env=env, capture_output=True, text=True
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    yield call
    for run in call("list")[1]["runs"]:
        if run["state"] == "running":
            call("stop", run["id"], "--now")


def settings(**changes) -> list[str]:
    values = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    return [word for key, value in values.items() for word in ("--set", f"{key}={json.dumps(value)}")]


def run(launcher, preset: str, *words: str, **changes):
    return launcher("run", "--preset", preset, *settings(**changes), "--wait", *words)


def turns(games, mode="train"):
    return [(game, turn) for game in games if game["mode"] == mode for turn in game["turns"]]


def means_by_step(games) -> dict[str, dict[int, float]]:
    """Role -> step -> mean raw reward, computed from the records alone."""
    values = defaultdict(lambda: defaultdict(list))
    for game, turn in turns(games):
        if game["drop_reason"] is None and turn["trained"]:
            values[turn["role"]][game["step"]].append(turn["raw_reward"])
    return {role: {step: sum(row) / len(row) for step, row in steps.items()} for role, steps in values.items()}


@pytest.fixture(scope="module")
def self_play(launcher):
    code, shown, errors = run(launcher, "cpu-demo", name="whole")
    assert code == 0, errors
    return shown


@pytest.fixture(scope="module")
def games(launcher, self_play):
    return launcher("games", self_play["id"])[1]["games"]


def test_self_play_makes_its_steps_and_evaluates(self_play):
    assert (self_play["state"], self_play["step"], self_play["name"]) == ("done", 3, "whole")
    assert [step for step, _ in self_play["metrics"]["reward"]] == [1, 2, 3]
    assert {step for step, _ in self_play["metrics"]["eval_vanilla_harmful_pass1"]} == {3}
    assert all(abs(value) < 0.01 for _, value in self_play["metrics"]["vllm_kl"])
    assert self_play["bad_lines"] == [] and self_play["failures"] == []


def test_every_game_has_its_record_and_all_categories_were_played(self_play, games):
    train = [game for game in games if game["mode"] == "train"]
    assert len(train) == 3 * 8 and {game["step"] for game in train} == {1, 2, 3}
    assert {game["category"] for game in train} == {
        "vanilla_harmful", "vanilla_benign", "adversarial_harmful", "adversarial_benign",
    }  # fmt: skip
    assert len([game for game in games if game["mode"] == "eval"]) == 2 * 4
    assert all(len(game["turns"]) == 2 and game["verdict"] for game in train)
    known = {game["case"] for game in train}
    assert not known & {game["case"] for game in games if game["mode"] == "eval"}


def test_a_charted_reward_is_the_mean_of_the_games_behind_it(self_play, games):
    means = means_by_step(games)
    for role in ("attacker", "assessor"):
        charted = {point["step"]: point["mean_reward"] for point in self_play["rewards"][role]}
        assert charted.keys() == means[role].keys()
        assert all(abs(charted[step] - means[role][step]) < 1e-6 for step in charted)


def test_the_trainers_own_means_agree_with_the_games(self_play):
    assert len(self_play["agreement"]) >= 5
    assert all(point["agree"] for point in self_play["agreement"])


def test_the_evaluation_is_the_share_of_right_answers(self_play, games):
    for category in ("vanilla_harmful", "vanilla_benign"):
        right = [turn["correct"] for game, turn in turns(games, "eval") if game["category"] == category]
        ((_, value),) = self_play["metrics"][f"eval_{category}_pass1"]
        assert value == pytest.approx(sum(right) / len(right), abs=1e-6)


def test_memory_was_sampled_by_role(self_play):
    roles = {role for _, _, _, held in self_play["memory"] for role, mb in held.items() if mb > 0}
    assert {"policy", "rollout", "ray"} <= roles
    assert max(total for _, _, total, _ in self_play["memory"]) > 500


def test_nothing_is_left_running(self_play):
    from launcher import process

    assert process.marked(self_play["id"]) == []
    assert self_play["run_state"]["left_over"] == []


def test_a_job_that_dies_and_is_resumed_from_its_checkpoint(launcher):
    steps = 8
    _, begun, errors = launcher("run", "--preset", "cpu-demo", *settings(train__steps=steps, eval__steps=0))
    assert begun, errors
    id = begun["id"]
    running = wait(launcher, id, lambda shown: shown["step"] >= 2)
    os.kill(running["run_state"]["trainer"][0], signal.SIGKILL)
    crashed = wait(launcher, id, lambda shown: shown["state"] != "running")
    assert crashed["state"] == "crashed" and "SIGKILL" in crashed["reason"]
    code, resumed, errors = launcher("resume", id, "--wait")
    assert code == 0, errors
    _, saved = resumed["run_state"]["attempts"]
    assert resumed["state"] == "done" and 2 <= saved < steps
    assert [step for step, _ in resumed["metrics"]["reward"]] == list(range(1, steps + 1))
    games = launcher("games", id)[1]["games"]
    for step in range(1, steps + 1):
        attempt = 1 if step <= saved else 2
        assert len([game for game in games if (game["step"], game["attempt"]) == (step, attempt)]) == 8
        assert not [game for game in games if game["step"] == step and game["attempt"] > attempt]
    assert all(point["agree"] for point in resumed["agreement"])


def wait(launcher, id: str, reached) -> dict:
    """What `show` says as soon as it is so, or once the run has ended."""
    while not reached(shown := launcher("show", id)[1]) and shown["state"] == "running":
        time.sleep(0.5)
    return shown


def test_the_assessor_alone_with_the_guides_reward_function(launcher):
    code, shown, errors = run(launcher, "assessor-only")
    assert code == 0, errors
    assert shown["state"] == "done" and shown["step"] == 3
    assert all(abs(value) < 0.01 for _, value in shown["metrics"]["vllm_kl"])
    games = launcher("games", shown["id"])[1]["games"]
    assert len([game for game in games if game["mode"] == "train"]) == 3 * 16
    charted = {point["step"]: point["mean_reward"] for point in shown["rewards"]["assessor"]}
    assert charted == pytest.approx(means_by_step(games)["assessor"], abs=1e-6)
    read = [turn["format_ok"] for _, turn in turns(games)]
    assert sum(read) / len(read) > 0.8
    assert all(point["agree"] for point in shown["agreement"])


def test_a_shim_that_no_longer_syncs_weights_stops_the_run(launcher, tmp_path, engine_python):
    """The negative control: the same job with the weight sync's patch taken out of the shim."""
    shim = tmp_path / "shim"
    shutil.copytree(PROJECT / "launcher" / "shim", shim)
    source = (shim / "cpu_patches.py").read_text()
    patch = '    "openrlhf.utils.distributed_util": weight_sync_group,\n'
    assert patch in source
    (shim / "cpu_patches.py").write_text(source.replace(patch, ""))
    paths = engine.environment("cpu", {})["PYTHONPATH"].split(os.pathsep)
    python = tmp_path / "python"
    broken = os.pathsep.join([str(shim), *paths[1:]])
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{broken}" exec {engine_python} "$@"\n')
    python.chmod(0o755)
    code, shown, errors = launcher(
        "run", "--preset", "cpu-demo", *settings(eval__steps=0, train__steps=20), "--wait", ENGINE_PYTHON=str(python)
    )
    assert code == 1
    assert shown["state"] == "crashed" and "weight sync" in shown["reason"] and "vllm_kl" in shown["reason"]


@pytest.mark.skipif(not MEDEC.exists(), reason="needs the MEDEC validation file")
def test_real_notes(launcher):
    code, shown, errors = launcher(
        "run", "--preset", "cpu-medec", "--set", f"data.path={MEDEC}", "--set", "train.steps=3", "--wait"
    )
    assert code == 0, errors
    assert shown["state"] == "done" and [step for step, _ in shown["metrics"]["reward"]] == [1, 2, 3]
    games = launcher("games", shown["id"])[1]["games"]
    train = [game for game in games if game["mode"] == "train"]
    assert {game["category"] for game in train} == {
        "vanilla_harmful", "vanilla_benign", "adversarial_harmful", "adversarial_benign",
    }  # fmt: skip
    assert len({game["game"] for game in games}) == len(games)
    assert not [game for game in games if (game["drop_reason"] or "").startswith(("error", "prompt"))]
    means = means_by_step(games)
    for role, points in shown["rewards"].items():
        assert {point["step"]: point["mean_reward"] for point in points} == pytest.approx(means[role], abs=1e-6)
