"""The real engine: a raw model is taught by OpenRLHF's train_sft, and the games start with what comes out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import evaluation_models, runs
from launcher.runs import Runs

PROJECT = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.e2e, pytest.mark.engine]
SETTINGS = {
    "train.steps": 1, "rollout.batch_size": 8, "rollout.micro_batch_size": 8, "train.batch_size": 16,
    "train.micro_batch_size": 8, "data.cases": 60, "eval.steps": 0, "checkpoint.steps": 0, "warm_start.steps": 6,
    "warm_start.micro_batch_size": 32, "warm_start.learning_rate": 0.004, "rollout.max_len": 320,
}  # fmt: skip
RAW = """
import sys
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(sys.argv[1])).save_pretrained(sys.argv[2])
AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
"""


def test_a_raw_model_is_taught_before_it_plays(engine_python, tmp_path):
    if problem := runs.demo_model.check(runs.DEMO_MODEL_FOLDER):
        pytest.fail(f"{problem} `./run.sh setup` does it.")
    env, raw = os.environ | {"SECOND_OPINION_RUNS": str(tmp_path / "runs")}, tmp_path / "raw"
    subprocess.run([engine_python, "-c", RAW, str(runs.DEMO_MODEL_FOLDER), str(raw)], check=True, env=env)
    chosen = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    argv = [sys.executable, "-m", "launcher", "run", "--preset", "cpu-demo", "--set", f"policy={raw}", *chosen]
    done = subprocess.run([*argv, "--wait", "--json"], cwd=PROJECT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["state"], shown["step"]) == ("done", 1) and shown["failures"] == [] and shown["bad_lines"] == []
    folder = Path(shown["folder"])
    log = (folder / "train.log").read_text(encoding="utf-8")
    assert log.index("warm start: ") < log.index("gpt_loss=") < log.index("Global step 1")
    taught = folder / "warm-start" / "model"
    before, after, last = ((one / "model.safetensors").read_bytes() for one in (raw, taught, folder / "model"))
    assert after != before and last != before
    here = Runs(tmp_path / "runs")
    assert evaluation_models.player(here, f"{shown['id']}@start", None).model == str(taught)
