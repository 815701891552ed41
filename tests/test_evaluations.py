"""Evaluations from the launcher's side, with a worker that needs no model."""

import csv
import json
import sys
import time
from pathlib import Path

import pytest
import written_run
from pydantic import ValidationError

from launcher import engine, evaluation_models, evaluations, prepare, store_evaluations
from launcher.__main__ import main
from launcher.evaluations import Request
from launcher.rundir import RunDir, UnknownRun, write_json
from launcher.runs import Refused, Runs
from launcher.store import Store
from medical_team import data, demo_world
from medical_team.evaluation import Job
from medical_team.types import Case, ErrorType

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
    deadline = time.monotonic() + 30
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
    one = evaluations.create(fake_worker, Request(models=(str(run.model),)))
    job = Job.model_validate_json((one.path / "job.json").read_bytes())
    assert job.most_tokens == 77 and (job.players[0].style, job.players[0].thinking) == ("short", False)


def test_names_of_models(fake_worker, models):
    run = written_run.write(fake_worker.folder)
    of = lambda name: evaluation_models.player(fake_worker, name, None)  # noqa: E731
    assert evaluation_models.choices(run) == [f"{run.id}@start"]
    with pytest.raises(Refused, match="no final model"):
        of(run.id)
    for step in (20, 40):
        (run.checkpoints / "_actor" / f"global_step{step}").mkdir(parents=True)
    (run.checkpoints / "global_step40_hf").mkdir()
    write_json(run.checkpoints / "global_step40_hf" / "config.json", {})
    assert evaluation_models.choices(run) == [f"{run.id}@{at}" for at in ("start", 20, 40)]
    assert of(f"{run.id}@20").checkpoint == run.checkpoints / "_actor" / "global_step20"
    assert of(f"{run.id}@40").model.endswith("global_step40_hf") and of(f"{run.id}@40").checkpoint is None
    assert of(f"{run.id}@20").style == "short" and of(models[0]).style == "full" and of("org/name").model == "org/name"
    for wrong in (f"{run.id}@30", "no folder/of/mine", "../x", "", "a;b"):
        with pytest.raises(Refused):
            of(wrong)
    with pytest.raises(UnknownRun):
        of("20990101-000000-aaaa")


def test_wrong_requests_are_refused(fake_worker, models, tmp_path, capsys):
    with pytest.raises(ValidationError):
        Request(models=())
    assert evaluate(models[0], "--data", str(tmp_path / "none.csv")) == 2
    assert evaluate(models[0], "--cases", "0") == 2
    assert evaluations.every(fake_worker) == []
    with pytest.raises(UnknownRun):
        evaluations.find(fake_worker, "../../etc")
