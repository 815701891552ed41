"""Evaluations from the launcher's side, with a worker that needs no model."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import written_run
from pydantic import ValidationError

from launcher import (
    devices,
    engine,
    evaluation_devices,
    evaluation_models,
    evaluation_result,
    evaluation_work,
    evaluations,
    prepare,
    process,
    store_evaluations,
)
from launcher.__main__ import main
from launcher.evaluation_result import Result
from launcher.evaluations import Request
from launcher.rundir import RunDir, UnknownRun, write_json
from launcher.runs import Refused, Runs
from launcher.store import Store
from medical_team import data, demo_world
from medical_team.demo_model import Skill, recipe_fingerprint
from medical_team.evaluation import How, Job
from medical_team.evaluation.crossplay import Cell
from medical_team.evaluation.intervals import Interval
from medical_team.judge.settings import JudgeSettings
from medical_team.opponents import SAVED_LAST
from medical_team.types import Case, ErrorType, Label

PROJECT = Path(__file__).parent.parent


@pytest.fixture
def fake_worker(tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\n" + (PROJECT / "tests" / "fake_worker.py").read_text(encoding="utf-8"))
    script.chmod(0o755)
    monkeypatch.setenv("ENGINE_PYTHON", str(script))
    monkeypatch.setenv("FAKE_VERSIONS", json.dumps(engine.pins(engine.lock("cpu"))))
    monkeypatch.setenv("FAKE_WORKER", "done")
    monkeypatch.setenv("SECOND_OPINION_RUNS", str(tmp_path / "runs"))
    return Runs.here()


@pytest.fixture
def models(tmp_path) -> list[str]:
    """Two folders that pass for models."""
    for name in ("plain", "wise"):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "config.json", {"model_type": "fake"})
    return [str(tmp_path / "plain"), str(tmp_path / "wise")]


def evaluate(*words: str) -> int:
    return main(["evaluate", *words])


def test_an_evaluation_from_the_command_line(fake_worker, models, capsys):
    assert evaluate(*models, "--cases", "10", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    folder = Path(answer["folder"])
    columns = {
        (one["name"], one["how"]): {m["name"]: m for m in one["measures"]} for one in answer["result"]["columns"]
    }
    plain, wise = (columns[name, "greedy"] for name in models)
    assert (plain["accuracy"]["value"], wise["accuracy"]["value"], wise["pair accuracy"]["value"]) == (0.5, 1.0, 1.0)
    assert columns["always Harmful", None]["recall"]["value"] == 1.0
    change = answer["result"]["differences"][0]
    assert (change["value"], change["test"]["only_first"], change["test"]["only_second"]) == (0.5, 0, 10)
    assert change["test"]["p"] == 2 / 2**10
    said = list(csv.DictReader((folder / "predictions.csv").read_text(encoding="utf-8").splitlines()))
    assert len(said) == 2 * 2 * 20 and all(one["raw"].startswith("I think") for one in said)
    assert "| accuracy |" in (folder / "table.md").read_text(encoding="utf-8")
    rows = list(csv.DictReader((folder / "table.csv").read_text(encoding="utf-8").splitlines()))
    accuracy = next(one for one in rows if one["measure"] == "accuracy" and one["player"] == models[0])
    assert float(accuracy["value"]) == 0.5 and accuracy["of"] == "20"
    (greedy, sampled) = csv.DictReader((folder / "differences.csv").read_text(encoding="utf-8").splitlines())
    assert (greedy["before"], greedy["after"], sampled["how"]) == (*models, "sampled")
    assert [float(greedy[name]) for name in ("value", "only_before", "only_after", "p")] == [0.5, 0, 10, 2 / 2**10]
    assert not (folder / "matrix.csv").exists()  # nobody attacked


def test_the_matrix_of_attacks_is_exported(tmp_path):
    found = Cell(attacker="a", assessor="b", how=How.GREEDY, label=Label.SAFE, notes=4, deceived=1, unreadable=1,
                 success=0.25, interval=Interval(0.05, 0.7))  # fmt: skip
    evaluation_result.write(tmp_path, Result(columns=(), differences=(), cells=(found,)), "demo", "about")
    (row,) = csv.DictReader((tmp_path / "matrix.csv").read_text(encoding="utf-8").splitlines())
    assert list(row.values()) == ["a", "b", "Safe", "greedy", "4", "1", "1", "0.25", "0.05", "0.7"]
    assert not (tmp_path / "differences.csv").exists()


def made_job(here: Runs, **request) -> Job:
    one = evaluations.create(here, Request(**request))
    return Job.model_validate_json((one.path / "job.json").read_bytes())


def test_sampling_and_judge_are_those_of_the_first_run_unless_asked_for(fake_worker, models):
    rollout = {"rollout__temperature": 0.7, "rollout__top_p": 0.9, "rollout__max_new_tokens": 77}
    run = trained(fake_worker, HELD_OUT[:2], judge__kind="local", judge__model="org/judge", **rollout)
    job = made_job(fake_worker, models=(models[0], run.id))
    assert (job.temperature, job.top_p, job.most_tokens, job.judge.model) == (0.7, 0.9, 77, "org/judge")
    job = made_job(fake_worker, models=models)
    assert (job.temperature, job.top_p, job.most_tokens, job.judge.kind) == (1.0, 1.0, 512, "reference")
    job = made_job(fake_worker, models=models, judge_from=run.id, temperature=1.5, top_p=0.5)
    assert (job.temperature, job.top_p, job.most_tokens, job.judge.model) == (1.5, 0.5, 512, "org/judge")
    before = evaluations.every(fake_worker)
    with pytest.raises(UnknownRun):
        evaluations.create(fake_worker, Request(models=models, judge_from="20990101-000000-aaaa"))
    assert evaluations.every(fake_worker) == before


def test_a_judge_is_named_on_the_command_line(fake_worker, models, capsys):
    own = ["--judge", "kind=http", "model=med", "abstain_low=0.2"]
    assert evaluate(models[0], "--cases", "3", "--json", "--top-p", "0.9", *own) == 0
    request = json.loads(capsys.readouterr().out)["about"]["request"]
    assert (request["judge"]["kind"], request["judge"]["abstain_low"], request["top_p"]) == ("http", 0.2, 0.9)
    for wrong in ("kind", "kind=oracle", "no_such=1"):
        assert evaluate(models[0], "--judge", wrong) == 2


def test_the_table_agrees_with_the_exported_predictions(fake_worker, models, capsys):
    evaluate(*models, "--cases", "7", "--how", "greedy", "--json")
    folder = Path(json.loads(capsys.readouterr().out)["folder"])
    said = list(csv.DictReader((folder / "predictions.csv").read_text(encoding="utf-8").splitlines()))
    right = {name: sum(one["answer"] == one["truth"] for one in said if one["player"] == name) / 14 for name in models}
    with Store(fake_worker.store_path) as store:
        found = {row.player: row.value for row in store_evaluations.of_measure(store, "accuracy")}
    assert {name: found[name] for name in models} == right


def test_the_index_is_made_again_from_the_files(fake_worker, models, capsys):
    evaluate(models[0], "--cases", "3")
    with Store(fake_worker.store_path) as store:
        before = store_evaluations.of_measure(store, "F1")
    fake_worker.store_path.unlink()
    main(["ingest"])
    with Store(fake_worker.store_path) as store:
        assert store_evaluations.of_measure(store, "F1") == before and len(before) == 5
        evaluations.refresh(fake_worker, store)
        assert len(store_evaluations.of_measure(store, "F1")) == 5


def test_one_measure_across_evaluations(fake_worker, models, capsys):
    for cases in ("3", "4"):
        evaluate(*models, "--cases", cases, "--how", "greedy")
    capsys.readouterr()
    assert main(["evaluations", "--measure", "accuracy", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["player"], row["value"], row["of"]) for row in rows if row["how"]] == [
        (models[0], 0.5, 8), (models[1], 1.0, 8), (models[0], 0.5, 6), (models[1], 1.0, 6),
    ]  # fmt: skip
    assert main(["evaluations", "--measure", "accuracy"]) == 0 and "always Harmful" in capsys.readouterr().out


def test_a_worker_that_fails_says_why(fake_worker, models, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_WORKER", "fail")
    assert evaluate(models[0]) == 1
    assert "ValueError: the model was lost <b>" in capsys.readouterr().err
    (one,) = evaluations.every(fake_worker)
    assert evaluations.look(one).state == "failed" and evaluations.result(one) is None
    assert main(["evaluations"]) == 0 and "failed" in capsys.readouterr().out


def wait(one, reached) -> evaluations.State:
    deadline = time.monotonic() + 120
    while not reached(now := evaluations.look(one)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return now


def test_one_in_the_background_goes_on_alone_and_can_be_stopped(fake_worker, models, monkeypatch):
    monkeypatch.setenv("FAKE_WORKER", "hang")
    one = evaluations.create(fake_worker, Request(models=models))
    evaluations.start(fake_worker, one)
    wait(one, lambda now: evaluations.progress(one))
    assert evaluations.progress(one).doing == "the first one reads"
    evaluations.stop(one)
    assert wait(one, lambda now: now.state != "running").state == "stopped"
    with pytest.raises(Refused, match="not running"):
        evaluations.stop(one)


def test_one_in_the_background_finishes(fake_worker, models):
    one = evaluations.create(fake_worker, Request(models=models, cases=4))
    evaluations.start(fake_worker, one)
    assert wait(one, lambda now: now.state != "running").state == "done"
    assert evaluations.result(one).columns


def test_one_whose_process_is_gone_has_failed(fake_worker, models):
    one = evaluations.create(fake_worker, Request(models=models))
    lost = evaluations.look(one).model_copy(update={"worker": (2**22 - 3, 1.0)})
    write_json(one.state, lost.model_dump(mode="json"))
    assert evaluations.look(one).state == "failed"


HELD_OUT = demo_world.cases(100, 900_001)


def trained(here: Runs, cases: list[Case], **settings) -> RunDir:
    """A run with a final model, trained on both notes of these cases."""
    run = written_run.write(here.folder, **settings)
    run.model.mkdir()
    write_json(run.model / "config.json", {})
    rows = data.rows(data.samples(cases, list(ErrorType)), "train")
    (run.data / "train.jsonl").write_text("".join(json.dumps(row._asdict()) + "\n" for row in rows))
    return run


def test_notes_that_a_run_was_trained_on_are_left_out(fake_worker):
    run = trained(fake_worker, HELD_OUT[:30])
    one = evaluations.create(fake_worker, Request(models=(run.id,)))
    told = evaluations.about(one)
    assert (told.harmful, told.safe, told.left_out) == (70, 70, 60) and "60 more were left out" in told.text
    kept = evaluations.create(fake_worker, Request(models=(run.id,), keep_seen=True))
    assert evaluations.about(kept).left_out == 0
    with pytest.raises(Refused, match="every case"):
        evaluations.create(fake_worker, Request(models=(run.id,), cases=30))


def left_out(here: Runs, *models: str) -> int:
    return evaluations.about(evaluations.create(here, Request(models=models))).left_out


def test_notes_of_a_warm_start_are_left_out(fake_worker):
    run = trained(fake_worker, HELD_OUT[:10], warm_start__steps=5, warm_start__micro_batch_size=32)
    prepare.write_demonstrations(
        evaluation_models.config(fake_worker, run.id), HELD_OUT[:40], run.data / "warm-start.jsonl"
    )
    assert left_out(fake_worker, run.id) == left_out(fake_worker, f"{run.id}@start") == 80


def test_notes_of_the_run_whose_model_a_run_started_from_are_left_out(fake_worker):
    first = trained(fake_worker, HELD_OUT[:30])
    second = trained(fake_worker, HELD_OUT[20:40], id="20260102-030406-abcd", policy=str(first.model))
    assert left_out(fake_worker, second.id) == 80 and left_out(fake_worker, first.id) == 60


def test_a_model_that_is_named_by_its_folder_is_of_the_run_that_the_folder_is_in(fake_worker):
    run = trained(fake_worker, HELD_OUT[:30], rollout__max_new_tokens=77, custom_configs__direct_chat_no_cot=True)
    assert left_out(fake_worker, str(run.model)) == 60
    job = made_job(fake_worker, models=(str(run.model),))
    assert job.most_tokens == 77 and (job.players[0].style, job.players[0].thinking) == ("short", False)


def test_names_of_models(fake_worker, models):
    run = written_run.write(fake_worker.folder)
    of = lambda name: evaluation_models.player(fake_worker, name, None)  # noqa: E731
    assert evaluation_models.choices(run) == [f"{run.id}@start"]
    with pytest.raises(Refused, match="no final model"):
        of(run.id)
    for step in (20, 40):
        (run.checkpoints / "_actor" / f"global_step{step}").mkdir(parents=True)
    for step, last in ((40, SAVED_LAST), (50, "config.json")):  # the second was broken off while it was saved
        (run.checkpoints / f"global_step{step}_hf").mkdir()
        write_json(run.checkpoints / f"global_step{step}_hf" / last, {})
    assert evaluation_models.choices(run) == [f"{run.id}@{at}" for at in ("start", 20, 40)]
    assert of(f"{run.id}@20").checkpoint == run.checkpoints / "_actor" / "global_step20"
    assert of(f"{run.id}@40").model.endswith("global_step40_hf") and of(f"{run.id}@40").checkpoint is None
    assert of(f"{run.id}@20").style == "short" and of(models[0]).style == "full" and of("org/name").model == "org/name"
    for wrong in (f"{run.id}@30", f"{run.id}@50", "no folder/of/mine", "../x", "", "a;b"):
        with pytest.raises(Refused):
            of(wrong)
    with pytest.raises(UnknownRun):
        of("20990101-000000-aaaa")


def test_the_demo_model_must_be_built_and_be_of_today(tmp_path):
    with pytest.raises(Refused, match=r"no finished demo model; run `\./run\.sh setup`"):
        evaluation_models.demo(tmp_path)
    skill = Skill(*[1.0] * 7, threshold=0.95, seed=0, steps=1, seconds=1.0, recipe="of other tables")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        write_json(tmp_path / name, {})
    write_json(tmp_path / "skill.json", asdict(skill))
    with pytest.raises(Refused, match="built from other demo tables"):
        evaluation_models.demo(tmp_path)
    write_json(tmp_path / "skill.json", asdict(replace(skill, recipe=recipe_fingerprint())))
    assert evaluation_models.demo(tmp_path).style == "short"


def test_a_damaged_evaluation_is_listed_with_the_reason_and_the_others_as_ever(fake_worker, models, capsys):
    ids = []
    for _ in range(4):
        evaluate(models[0], "--cases", "3", "--json")
        ids.append(json.loads(capsys.readouterr().out)["id"])
    good, bad_about, bad_state, bad_result = (evaluations.find(fake_worker, id) for id in ids)
    bad_about.about.write_text("{", encoding="utf-8")
    bad_state.state.write_text('{"state": "sleeping"}', encoding="utf-8")
    bad_result.result.write_text("[]", encoding="utf-8")
    assert main(["evaluations", "--json"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["evaluations"]}
    assert [rows[id]["state"] for id in ids] == ["done", "unreadable", "unreadable", "done"]
    assert str(bad_about.about) in rows[bad_about.id]["reason"] and main(["evaluations"]) == 0
    fake_worker.store_path.unlink()
    assert main(["ingest"]) == 0
    told = capsys.readouterr().err
    assert f"left out: {bad_about.about}" in told and f"left out: {bad_result.result}" in told
    with Store(fake_worker.store_path) as store:
        found = {row.evaluation for row in store_evaluations.of_measure(store, "accuracy")}
    assert found == {good.id, bad_state.id}


def test_who_is_second_to_end_an_evaluation_changes_nothing(fake_worker, models):
    """Whoever looked before it was done, and found its process gone after, must not call it failed."""
    one = evaluations.create(fake_worker, Request(models=models))
    assert evaluations.end(one, "done").state == "done"
    assert evaluations.end(one, "failed", "too late").state == "done" and evaluations.look(one).reason is None
    evaluations.belongs_to(one, None)
    assert evaluations.look(one).state == "done"


def test_what_a_killed_evaluation_left_is_ended(fake_worker, models, monkeypatch):
    monkeypatch.setenv("FAKE_WORKER", "hang")
    one = evaluations.create(fake_worker, Request(models=models))
    (one.path / "models" / "0").mkdir(parents=True)
    evaluations.start(fake_worker, one)
    wait(one, lambda now: evaluations.progress(one))
    os.kill(evaluations.look(one).worker.pid, signal.SIGKILL)
    assert process.marked(one.id)
    assert wait(one, lambda now: now.state != "running").state == "failed"
    assert process.marked(one.id) == [] and not (one.path / "models").exists()


def test_models_put_together_for_an_evaluation_are_gone_with_its_end(fake_worker, models):
    one = evaluations.create(fake_worker, Request(models=models, cases=3))
    (one.path / "models" / "0").mkdir(parents=True)
    assert evaluation_work.work(fake_worker, one).state == "done" and not (one.path / "models").exists()


@pytest.mark.parametrize(
    ("attack", "judge", "offline"),
    [(False, {"kind": "local"}, True), (True, {"kind": "local"}, False), (True, {"kind": "local", "model": "."}, True),
     (True, {}, True)],
)  # fmt: skip
def test_an_evaluation_is_offline_unless_a_model_must_be_fetched(fake_worker, models, attack, judge, offline):
    job = made_job(fake_worker, models=models, attack=attack, judge=JudgeSettings(**judge))
    assert (evaluation_work.offline(job) == {"HF_HUB_OFFLINE": "1"}) is offline


def test_an_evaluation_on_a_gpu_and_a_run_keep_out_of_each_others_way(fake_worker, models, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    here, request = fake_worker, Request(models=models, device="cuda")
    one = evaluations.create(here, request)
    with evaluation_devices.held(here.folder, one.id, "cuda") as own:
        assert own == {"CUDA_VISIBLE_DEVICES": "0"} and devices.free(here.folder, ["gpu-0", "gpu-1"]) == ["gpu-1"]
        with devices.held(here.folder, ["gpu-1"]), pytest.raises(Refused, match="every GPU is taken"):
            evaluations.create(here, request)
        with devices.held(here.folder, ["gpu-1"]):
            assert evaluation_work.work(here, one).state == "failed"
        assert "every GPU is taken" in evaluations.look(one).reason
    assert devices.free(here.folder, ["gpu-0", "gpu-1"]) == ["gpu-0", "gpu-1"]
    with evaluation_devices.held(here.folder, one.id, "cpu") as own:
        assert own == {} and devices.free(here.folder, ["cpu"]) == ["cpu"]


def test_the_gpu_of_a_killed_evaluation_is_free_when_its_worker_is_gone(fake_worker):
    devices.give(fake_worker.folder, ["gpu-0"], "20260102-030405-beef")
    left = subprocess.Popen(["sleep", "60"], env=process.mark("20260102-030405-beef"))
    try:
        assert devices.free(fake_worker.folder, ["gpu-0"]) == []
    finally:
        left.kill()
        left.wait()
    assert devices.free(fake_worker.folder, ["gpu-0"]) == ["gpu-0"]


def test_wrong_requests_are_refused(fake_worker, models, tmp_path, capsys):
    with pytest.raises(ValidationError):
        Request(models=())
    assert evaluate(models[0], "--data", str(tmp_path / "none.csv")) == 2
    assert evaluate(models[0], "--cases", "0") == 2
    assert evaluations.every(fake_worker) == []
    with pytest.raises(UnknownRun):
        evaluations.find(fake_worker, "../../etc")
