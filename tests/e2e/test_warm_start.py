"""The real engine: a raw model is taught by OpenRLHF's train_sft, plays what comes out, and is its own frozen opponent."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from launcher import evaluation_models, runs
from launcher.runs import Runs

PROJECT = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.e2e, pytest.mark.engine]
STEPS, SAVED = 4, 2
SETTINGS = {
    "train.steps": STEPS, "rollout.batch_size": 16, "rollout.micro_batch_size": 16, "train.batch_size": 32,
    "train.micro_batch_size": 16, "data.cases": 60, "eval.steps": 0, "checkpoint.steps": SAVED, "train.frozen_share": 0.5,
    "warm_start.steps": 6, "warm_start.micro_batch_size": 32, "warm_start.learning_rate": 0.004, "rollout.max_len": 320,
}  # fmt: skip
RAW = """
import sys
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(sys.argv[1])).save_pretrained(sys.argv[2])
AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("warm-start")


@pytest.fixture(scope="module")
def call(folder):
    """The command line, in a runs folder of its own; returns its parsed JSON."""

    def called(*words: str) -> dict:
        argv = [sys.executable, "-m", "launcher", *words, "--json"]
        env = os.environ | {"SECOND_OPINION_RUNS": str(folder / "runs")}
        done = subprocess.run(argv, cwd=PROJECT, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return called


@pytest.fixture(scope="module")
def shown(engine_python, folder, call):
    if problem := runs.demo_model.check(runs.DEMO_MODEL_FOLDER):
        pytest.fail(f"{problem} `./run.sh setup` does it.")
    subprocess.run([engine_python, "-c", RAW, str(runs.DEMO_MODEL_FOLDER), str(folder / "raw")], check=True)
    chosen = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    return call("run", "--preset", "cpu-demo", "--set", f"policy={folder / 'raw'}", *chosen, "--wait")


@pytest.fixture(scope="module")
def games(shown, call):
    return call("games", shown["id"])["games"]


def test_a_raw_model_is_taught_before_it_plays(folder, shown):
    assert (shown["state"], shown["step"]) == ("done", STEPS) and shown["failures"] == [] and shown["bad_lines"] == []
    run = Path(shown["folder"])
    log = (run / "train.log").read_text(encoding="utf-8")
    assert log.index("warm start: ") < log.index("gpt_loss=") < log.index("Global step 1")
    taught = run / "warm-start" / "model"
    before, after, last = ((one / "model.safetensors").read_bytes() for one in (folder / "raw", taught, run / "model"))
    assert after != before and last != before
    assert evaluation_models.player(Runs(folder / "runs"), f"{shown['id']}@start", None).model == str(taught)


def test_games_against_the_start_model_and_a_checkpoint(games):
    assert not [game for game in games if (game["drop_reason"] or "").startswith("error")]
    frozen = [game for game in games if game["opponent"] != "self"]
    held = Counter((game["step"] == STEPS, "/".join(Path(game["opponent"]).parts[-2:])) for game in frozen)
    assert set(held) == {(False, "warm-start/model"), (True, f"checkpoints/global_step{SAVED}_hf")}
    assert all(game["category"].startswith("adversarial") for game in frozen)


def test_a_frozen_seat_is_not_trained(games):
    for game in [game for game in games if game["opponent"] != "self"]:
        assert [turn["role"] for turn in game["turns"]] == ["attacker", "assessor"]
        assert sum(turn["trained"] for turn in game["turns"]) == 1
        assert all(turn["sent_reward"] == 0 for turn in game["turns"] if not turn["trained"])


def test_every_step_has_all_its_samples(shown, games):
    for step in range(1, STEPS + 1):
        trained = [turn for game in games if game["step"] == step and not game["drop_reason"] for turn in game["turns"]
                   if turn["trained"]]  # fmt: skip
        assert len(trained) == 32
    assert shown["metrics"]["rollout/num_samples"] == [[step, 32.0] for step in range(1, STEPS + 1)]
    assert all(point["agree"] for point in shown["agreement"])
