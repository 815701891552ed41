"""The real engine with frozen opponents: the start model and a checkpoint hold seats, and only the policy is trained."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from launcher import runs

PROJECT = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.e2e, pytest.mark.engine]
SETTINGS = {
    "train.steps": 4, "rollout.batch_size": 16, "rollout.micro_batch_size": 16, "train.batch_size": 32,
    "train.micro_batch_size": 16, "data.cases": 60, "eval.steps": 0, "checkpoint.steps": 2, "train.frozen_share": 0.5,
}  # fmt: skip


def test_games_against_the_start_model_and_a_checkpoint(engine_python, tmp_path):
    if problem := runs.demo_model.check(runs.DEMO_MODEL_FOLDER):
        pytest.fail(f"{problem} `./run.sh setup` does it.")
    env = os.environ | {"SECOND_OPINION_RUNS": str(tmp_path)}

    def call(*words: str) -> dict:
        argv = [sys.executable, "-m", "launcher", *words, "--json"]
        done = subprocess.run(argv, cwd=PROJECT, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    chosen = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    shown = call("run", "--preset", "cpu-demo", *chosen, "--wait")
    games = call("games", shown["id"])["games"]
    assert shown["state"] == "done" and not [game for game in games if (game["drop_reason"] or "").startswith("error")]
    frozen = [game for game in games if game["opponent"] != "self"]
    held = Counter((game["step"] == 4, Path(game["opponent"]).name) for game in frozen)
    assert set(held) == {(False, "demo-model"), (True, "global_step2_hf")}
    assert all(game["category"].startswith("adversarial") for game in frozen)
    for game in frozen:
        assert [turn["role"] for turn in game["turns"]] == ["attacker", "assessor"]
        assert sum(turn["trained"] for turn in game["turns"]) == 1
        assert all(turn["sent_reward"] == 0 for turn in game["turns"] if not turn["trained"])
    for step in range(1, 5):
        trained = [turn for game in games if game["step"] == step and not game["drop_reason"] for turn in game["turns"]
                   if turn["trained"]]  # fmt: skip
        assert len(trained) == 32
    assert shown["metrics"]["rollout/num_samples"] == [[step, 32.0] for step in range(1, 5)]
    assert all(point["agree"] for point in shown["agreement"])
