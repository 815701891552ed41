"""Evaluations by the real engine: vLLM on the demo model, its checkpoint as DeepSpeed keeps it, and what is exported."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
import written_run

from launcher import engine, runs
from launcher.rundir import write_json

PROJECT = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.e2e, pytest.mark.engine]

MAKE_CHECKPOINT = """
import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
torch.save({"module": model.state_dict()}, sys.argv[2])
"""


@pytest.fixture(scope="module")
def answer(engine_python, tmp_path_factory):
    """The demo model, and the same weights as a checkpoint of a run: 15 cases, with attacks."""
    if problem := runs.demo_model.check(runs.DEMO_MODEL_FOLDER):
        pytest.fail(f"{problem} `./run.sh setup` does it.")
    folder = tmp_path_factory.mktemp("runs")
    run = written_run.write(folder, policy=str(runs.DEMO_MODEL_FOLDER))
    (run.data / "train.jsonl").write_text("")
    checkpoint = run.checkpoints / "_actor" / "global_step20"
    checkpoint.mkdir(parents=True)
    weights = [runs.DEMO_MODEL_FOLDER, checkpoint / "mp_rank_00_model_states.pt"]
    env = os.environ | {"SECOND_OPINION_RUNS": str(folder)}
    subprocess.run([engine_python, "-c", MAKE_CHECKPOINT, *map(str, weights)], check=True, env=env)
    words = ["evaluate", "demo", f"{run.id}@20", "--cases", "15", "--attack", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "launcher", *words], cwd=PROJECT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def predictions(answer) -> list[dict[str, str]]:
    text = (Path(answer["folder"]) / "predictions.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_every_number_of_the_table_by_hand_from_the_exported_predictions(answer):
    """Thirty notes, in fractions: nothing of the project computes here."""
    said = predictions(answer)
    for column in answer["result"]["columns"]:
        if column["role"] != "assessor" or column["how"] is None:
            continue
        mine = [
            one for one in said if (one["player"], one["how"], one["attacker"]) == (column["name"], column["how"], "")
        ]
        assert len(mine) == 30
        right = [one["answer"] == one["truth"] for one in mine]
        counts = Counter((one["truth"], ok) for one, ok in zip(mine, right, strict=True))
        tp, fn, tn, fp = (counts[truth, ok] for truth in ("Harmful", "Safe") for ok in (True, False))
        pairs = {one["case"]: [] for one in mine}
        for one, ok in zip(mine, right, strict=True):
            pairs[one["case"]].append(ok)
        wanted = {
            "accuracy": Fraction(tp + tn, 30), "recall": Fraction(tp, 15), "specificity": Fraction(tn, 15),
            "balanced accuracy": (Fraction(tp, 15) + Fraction(tn, 15)) / 2, "F1": Fraction(2 * tp, 2 * tp + fp + fn),
            "precision": Fraction(tp, tp + fp), "pair accuracy": Fraction(sum(map(all, pairs.values())), 15),
            "unreadable": Fraction(sum(not one["answer"] for one in mine), 30),
        }  # fmt: skip
        found = {one["name"]: one["value"] for one in column["measures"]}
        for name, value in wanted.items():
            assert found[name] == pytest.approx(float(value), abs=1e-15), (column["name"], name)


def test_the_demo_model_is_as_good_as_its_card_says(answer):
    """Measured there with transformers in fp32 on 200 notes, here with vLLM in bf16 on the first 30."""
    skill = json.loads((runs.DEMO_MODEL_FOLDER / "skill.json").read_text())
    greedy = next(one for one in answer["result"]["columns"] if (one["name"], one["how"]) == ("demo", "greedy"))
    low, high = greedy["measures"][0]["interval"]
    assert low <= skill["assessor_greedy"] <= high


def test_a_checkpoint_as_deepspeed_keeps_it_is_the_model_that_it_holds(answer):
    greedy = {}
    for one in predictions(answer):
        if one["how"] == "greedy" and not one["attacker"]:
            greedy.setdefault(one["player"], []).append(one["raw"])
    start, checkpoint = greedy.values()
    assert start == checkpoint
    assert [one["value"] for one in answer["result"]["differences"] if one["how"] == "greedy"] == [0.0]


def test_the_matrix_counts_the_faithful_notes_of_each_attacker(answer):
    attacks = [json.loads(line) for line in (Path(answer["folder"]) / "attacks.jsonl").read_text().splitlines()]
    assert len(attacks) == 2 * 30
    for cell in answer["result"]["cells"]:
        asked = (cell["attacker"], cell["label"], True)
        faithful = [one for one in attacks if (one["player"], one["intended"], one["faithful"]) == asked]
        wanted = (cell["attacker"], cell["assessor"], cell["how"], cell["label"])
        read = [one for one in predictions(answer)
                if (one["attacker"], one["player"], one["how"], one["truth"]) == wanted]  # fmt: skip
        assert len(read) == len(faithful) == cell["notes"] > 0
        wrong = sum(one["answer"] not in (one["truth"], "") for one in read)
        assert cell["deceived"] == wrong and cell["success"] == wrong / len(read)


def test_a_folder_that_holds_no_such_model_fails_with_the_engines_own_words(engine_python, tmp_path):
    (tmp_path / "odd").mkdir()
    write_json(tmp_path / "odd" / "config.json", {"model_type": "no such type"})
    env = os.environ | {"SECOND_OPINION_RUNS": str(tmp_path / "runs")}
    done = subprocess.run(
        [sys.executable, "-m", "launcher", "evaluate", str(tmp_path / "odd")], cwd=PROJECT, env=env, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "Error: " in done.stderr and "worker.log" in done.stderr
    assert engine.find("cpu") is not None
