"""Notes to evaluate on: where they come from, and that none of them was trained on."""

import json
from pathlib import Path

import pytest

from medical_team import data, demo_world
from medical_team.demo_model.skill import held_out
from medical_team.demonstrations import demonstrations
from medical_team.evaluation import anchors, sets
from medical_team.medec import DataError
from medical_team.types import ErrorType, Label

DATA = Path(__file__).parent / "data"
CSV = "Text ID,Text,Corrected Text,Error Type,Error Flag\n"


def test_the_demo_set_is_what_the_demo_model_was_measured_on():
    notes = sets.demo().notes
    assert [(note.text, note.truth, note.kind) for note in notes] == [
        (one.note, one.truth, one.kind.value) for one in held_out()
    ]
    assert len({note.id for note in notes}) == len(notes) == 200


def test_no_run_draws_its_cases_from_the_held_out_seed():
    trained = {
        text for seed in (42, 1, 2) for case in demo_world.cases(2000, seed) for text in (case.clean, case.error)
    }
    assert not trained & {note.text for note in sets.demo().notes}


def test_both_views_of_a_medec_file(tmp_path):
    file = tmp_path / "notes.csv"
    file.write_text(
        CSV
        + "a,wrong dose,right dose,Pharmacotherapy,1\nb,all is well,NA,NA,0\nc,wrong bug,right bug,causalorganism,1\n"
    )
    pairs, published = sets.read(file), sets.read(file, "published")
    assert [(note.id, note.text, note.truth, note.kind) for note in pairs.notes] == [
        ("a/safe", "right dose", Label.SAFE, "pharmacotherapy"),
        ("a/harmful", "wrong dose", Label.HARMFUL, "pharmacotherapy"),
        ("c/safe", "right bug", Label.SAFE, "causalOrganism"),
        ("c/harmful", "wrong bug", Label.HARMFUL, "causalOrganism"),
    ]
    assert sets.balance(published.notes) == (2, 1)
    clean = next(note for note in published.notes if note.truth is Label.SAFE)
    assert (clean.text, clean.clean, clean.asked) == ("all is well", None, None)
    assert "CC BY 4.0" in pairs.credit and pairs.source == "medec"


def test_rows_in_the_projects_own_form(tmp_path):
    samples = data.samples(demo_world.cases(6, 5), list(ErrorType))
    data.write_dataset(tmp_path / "set", data.rows(samples, "train"), data.rows(samples, "eval"), origin())
    found = sets.read(tmp_path / "set" / "eval.jsonl")
    assert sets.balance(found.notes) == (6, 6) and found.source == "demo" and found.credit == ""
    assert {note.text for note in found.notes} == {sample.note for sample in samples}


def origin():
    return data.Origin(source="s", licence="l", citation="c", seed=1)


def test_cases_that_were_trained_on_are_left_out_whole(tmp_path):
    cases = demo_world.cases(6, 5)
    notes = [note for case in cases for note in sets.pair(case, "k")]
    one_side = [sample for sample in data.samples(cases[:2], list(ErrorType)) if sample.category.intended is Label.SAFE]
    data.write_dataset(tmp_path / "set", data.rows(one_side, "train"), [], origin())
    kept = sets.without(notes, sets.trained_on(tmp_path / "set" / "train.jsonl"))
    assert {note.case for note in kept} == {case.id for case in cases[2:]} and len(kept) == 8
    assert sets.without(notes, set()) == notes


def test_a_broken_row_is_named(tmp_path):
    file = tmp_path / "rows.jsonl"
    row = {"input": "x", "label": "{}", "datasource": "eval"}
    file.write_text(f"{json.dumps(row)}\n{json.dumps(row | {'label': 7})}\n[]\n")
    with pytest.raises(DataError) as refused:
        sets.read(file)
    assert [problem.line for problem in refused.value.problems] == [1, 2, 3]


def test_a_warm_starts_rows_tell_the_notes_that_they_show(tmp_path):
    rows = tmp_path / "warm-start.jsonl"
    shown = demonstrations(demo_world.cases(3, 1), 12, 1)
    rows.write_text("".join(json.dumps(one._asdict()) + "\n" for one in shown), encoding="utf-8")
    notes = [note for case in demo_world.cases(5, 1) for note in sets.pair(case, "dosage")]
    assert {note.case for note in sets.without(notes, sets.demonstrated(rows))} == {"demo-1-3", "demo-1-4"}
    rows.write_text('{"messages": []}\n', encoding="utf-8")
    with pytest.raises(DataError, match="no demonstration"):
        sets.demonstrated(rows)


def test_published_figures_stand_beside_medec_alone_and_say_what_they_are_of():
    assert anchors.beside("demo") == ()
    found = {one.who: one for one in anchors.beside("medec")}
    assert [found[who].accuracy for who in ("doctor 1", "doctor 2", "GPT-4o")] == [0.796, 0.716, 0.647]
    qwen = found["Qwen3-4B, zero-shot"]
    assert qwen.accuracy == 0.587 and "597" in qwen.notes
    assert {one.notes for one in found.values() if one != qwen} == {anchors.TEST}
