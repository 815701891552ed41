import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_supervise import start

from launcher import report, rundir
from launcher.config import resolve

PROJECT = Path(__file__).parent.parent


def call(*words, cwd=PROJECT):
    done = subprocess.run(
        [sys.executable, "-m", "launcher", *words], cwd=cwd, env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


MODEL = PROJECT / "tests" / "data" / "model"
"""Has all files that a model has, and nothing in them."""

SETTINGS = (
    "--preset", "cpu-demo", "--set", f"policy={MODEL}", "--set", "data.cases=20", "--set", "data.eval_cases=4",
)  # fmt: skip
RUN = ("run", *SETTINGS)
ONE_KIND = ("--set", 'custom_configs.error_types=["dosage"]')
"""Of 20 cases 4 are of this kind, and all are held out for evaluation."""


def test_a_run_from_start_to_export(fake, tmp_path):
    fake("done")
    code, out, errors = call(*RUN, "--set", "train.steps=3", "--name", "mine", "--wait", "--json")
    assert code == 0, errors
    shown = json.loads(out)
    id = shown["id"]
    assert (shown["state"], shown["step"], shown["name"], shown["config"]["train"]["steps"]) == ("done", 3, "mine", 3)
    assert shown["metrics"]["reward"] == [[1, 0.1], [2, 0.2], [3, 0.3]]
    assert [run["id"] for run in json.loads(call("list", "--json")[1])["runs"]] == [id]
    assert "done" in call("list")[1] and "all 3 steps made" in call("show", id)[1]
    assert "Global step 3" in call("tail", id)[1]
    assert "Global step 2" in json.loads(call("tail", id, "--lines", "2", "--json")[1])["lines"][0]
    assert json.loads(call("games", id, "--json")[1]) == {"games": []}
    code, out, _ = call("export", id, "--out", str(tmp_path / "out"), "--json")
    assert code == 0 and (tmp_path / "out" / "metrics.csv").read_text().splitlines()[1] == "reward,1,0.1"
    assert {Path(file).name for file in json.loads(out)["files"]} >= {"config.json", "card.json", "games.jsonl"}
    code, _, errors = call("export", id, "--out", str(tmp_path / "out"))
    assert code == 2 and "is not empty" in errors


def test_a_failed_run_ends_with_1_and_a_wrong_request_with_2(fake):
    fake("raise")
    code, out, _ = call(*RUN, "--set", "train.steps=3", "--wait", "--json")
    assert code == 1 and json.loads(out)["state"] == "crashed"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--preset", "cpu-dmo"), "unknown preset 'cpu-dmo'; there are: assessor-only, cpu-demo, cpu-medec"),
        (("run", "--preset", "cpu-demo", "--set", "train.stps=3"), "unknown setting 'train.stps'"),
        (("run", "--preset", "cpu-demo", "--set", "train.steps"), "--set takes KEY=VALUE"),
        (("run", "--preset", "cpu-demo", "--set", "train.batch_size=48"), "must divide the 64 samples"),
        (("run", "--preset", "cpu-medec", "--set", "policy=x/y", "--set", "data.path=/no/such.csv"), "/no/such.csv"),
        (("show", "20260101-000000-abcd"), "no run '20260101-000000-abcd'"),
        (("show", "../../etc/passwd"), "no run '../../etc/passwd'"),
        (("stop", "20260101-000000-abcd"), "no run"),
        (
            ("data", "build", "--source", "medec", "--path", "tests/data/broken.csv", "--out", "/tmp/never"),
            "broken.csv",
        ),
        (("frobnicate",), "invalid choice"),
    ],
)
def test_wrong_input(fake, words, message):
    here = fake("done")
    code, out, errors = call(*words)
    assert code == 2 and message in errors and out == ""
    assert not list(here.folder.glob("*/config.json")) and not Path("/tmp/never").exists()


def test_the_preflight_names_what_stands_in_the_way_and_starts_nothing(fake):
    here = fake("done")
    code, out, errors = call("preflight", *SETTINGS, "--json")
    assert code == 0, errors
    assert {one["level"] for one in json.loads(out)["problems"]} <= {"warning"}
    code, out, _ = call("preflight", *SETTINGS, *ONE_KIND)
    assert code == 2 and "error: data.eval_cases: 4 cases have one of the chosen error types" in out
    code, out, _ = call("preflight", *SETTINGS, "--set", "train.batch_size=48", "--json")
    assert code == 2 and json.loads(out)["problems"][0]["field"] == "train.batch_size"
    assert not list(here.folder.glob("*/config.json"))


def test_a_run_that_could_not_work_is_refused_and_of_others_the_warnings_are_said(fake, tmp_path):
    here = fake("done")
    (tmp_path / "half").mkdir()
    code, out, errors = call(*RUN, "--set", f"policy={tmp_path / 'half'}", *ONE_KIND, "--json")
    assert code == 2 and out == "" and "data.eval_cases: 4 cases" in errors and "policy: " in errors
    assert not list(here.folder.glob("*/config.json"))
    code, out, errors = call(*RUN, "--set", "train.steps=3", "--wait", "--json")
    assert code == 0 and json.loads(out)["state"] == "done"
    assert "warning: checkpoint.steps: no checkpoint is saved in 3 steps" in errors


def test_a_missing_engine_is_said_in_one_line(fake, monkeypatch):
    fake("done")
    monkeypatch.setenv("FAKE_VERSIONS", "{}")
    code, _, errors = call(*RUN)
    assert code == 2 and "is missing from" in errors and "engine install" in errors


def test_a_model_below_the_threshold_is_refused_with_that_reason(fake, tmp_path):
    fake("done")
    model = tmp_path / "model"
    model.mkdir()
    (model / "skill.json").write_text("{}")
    code, _, errors = call(*RUN[:3], "--set", f"policy={model}")
    assert code == 2 and str(model) in errors


def test_the_command_is_shown_and_nothing_starts(fake):
    here = fake("done")
    code, out, _ = call("command", "--preset", "cpu-demo", "--set", "policy=some/model", "--json")
    shown = json.loads(out)
    assert code == 0 and shown["argv"][1:3] == ["-m", "openrlhf.cli.train_ppo_ray"]
    assert json.loads(shown["env"]["CUSTOM_CONFIGS"])["max_turns"] == 2
    assert "--train.agent_func_path" in call("command", "--preset", "cpu-demo", "--set", "policy=some/model")[1]
    assert list(here.folder.iterdir()) == []


def test_data_sets(tmp_path):
    code, out, errors = call(
        "data", "build", "--source", "demo", "--cases", "300", "--out", str(tmp_path / "d"), "--json"
    )
    assert code == 0, errors
    card = json.loads(out)
    assert card["train"]["rows"] == 480 and len(card["train"]["categories"]) == 4  # four of the five kinds of error
    rows = [json.loads(line) for line in (tmp_path / "d" / "train.jsonl").read_text().split("\n") if line]
    assert len(rows) == 480 and rows[0].keys() == {"input", "label", "datasource"}


def test_config_json_is_the_resolved_config(fake):
    here = fake("done")
    run = start(here, name="x")
    here.wait(run)
    written = json.loads(run.config.read_text())
    expected = resolve("cpu-demo", {"name": "x", "policy": "some/model", "train.steps": 3, "data.cases": 20,
                                    "data.eval_cases": 4, "checkpoint.steps": 2})  # fmt: skip
    assert {key: value for key, value in written.items() if key not in ("id", "created")} == expected.model_dump(
        mode="json"
    )


def test_a_memory_plan_needs_no_gpu_no_notes_and_no_engine():
    code, out, errors = call("memory", "--preset", "single-gpu-80gb", "--gpu-gb", "80", "--json")
    assert code == 0, errors
    planned = json.loads(out)
    assert planned["fits"] and planned["advice"] == {"fits": True, "steps": []}
    held = planned["phases"]["training"]
    parts = sum(held[part] for part in ("policy", "reference", "rollout", "judge"))
    assert held["total"] == parts <= planned["peak"] < planned["limit"]
    assert planned["phases"]["rollout"]["judge"] > held["judge"] > 0
    text = call("memory", "--preset", "single-gpu-80gb", "--gpu-gb", "45")[1]
    assert "does not fit" in text and "memory.adam_stream=true" in text


def test_the_plan_of_a_run_is_of_its_own_settings(fake, tmp_path):
    here = fake("done")
    named = {"policy": "Qwen/Qwen2.5-3B-Instruct", "data.path": str(PROJECT / "tests" / "data" / "cases.csv")}
    run = here.create(resolve("single-gpu-80gb", named | {"memory.vllm_share": 0.17, "data.eval_cases": 1}))
    code, out, errors = call("memory", "--run", run.id, "--gpu-gb", "80", "--json")
    assert code == 0, errors
    assert json.loads(out)["vllm_share"]["set"] == 0.17
    assert "leave out --preset" in call("memory", "--run", run.id, "--preset", "single-gpu-80gb")[2]
    assert "give --preset NAME" in call("memory")[2]


def test_a_plan_that_cannot_be_made_says_why():
    for words, why in (
        (("--preset", "cpu-demo"), "this run is on a CPU: add --set device=cuda"),
        (
            ("--preset", "single-gpu-80gb", "--gpu-gb", "80", "--set", "policy=a/b"),
            "the shape of a/b is not known here",
        ),
    ):
        code, _, errors = call("memory", *words)
        assert code == 2 and why in errors


def test_the_end_of_a_log_is_found_from_its_end(tmp_path):
    run = rundir.RunDir(tmp_path)
    with run.log(1).open("wb") as log:
        log.truncate(2**40)  # nobody reads as much in the time
        log.seek(0, os.SEEK_END)
        log.write(b"\nstep 1\n\x1b[31mstep 2\n\xe2\x80\xaestep 3\nnot yet")
    begun = time.monotonic()
    tail = report.Tail(run)
    assert tail.last(2) == ["step 2", "step 3"] and tail.new() == [] and time.monotonic() - begun < 60
    with run.log(1).open("ab") as log:
        log.write(b" whole\n")
    assert tail.new() == ["not yet whole"] and report.Tail(rundir.RunDir(tmp_path / "none")).last(5) == []


def test_a_resume_may_name_its_checkpoint(fake):
    here = fake("kill", steps=6)
    run = start(here, train__steps=8)
    here.wait(run)
    fake("done", steps=8)
    code, _, errors = call("resume", run.id, "--step", "5")
    assert code == 2 and "there are those of steps 2, 4, 6" in errors
    code, out, errors = call("resume", run.id, "--step", "4", "--wait", "--json")
    assert code == 0, errors
    assert json.loads(out)["run_state"]["attempts"] == [0, 4]
