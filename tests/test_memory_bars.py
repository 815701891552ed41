import re

import pytest
from markupsafe import escape

from app import memory_bars
from app.pages import run_list, run_memory
from launcher import memory, memory_advice, memory_report, model_shape, rundir, settings
from launcher.config import resolve
from launcher.ingest import ingest
from launcher.memory import Part, Phase
from launcher.memory_measured import Compared
from launcher.store import Store


def work(gb: float, preset: str = "guide-single-gpu", **changes) -> memory.Workload:
    given = {"data.path": "notes.csv"} | {key.replace("__", "."): value for key, value in changes.items()}
    config = resolve(preset, given)
    return memory.Workload(config, model_shape.of_model(config.policy), memory_report.gpu_bytes(gb))


def drawn(one: memory.Workload) -> str:
    return str(memory_bars.drawn(memory.plan(one), memory_advice.advise(one)))


def widths(html: str) -> list[float]:
    return [float(width) for width in re.findall(r"width:([\d.]+)%", html)]


def test_segments_are_as_long_as_what_they_stand_for():
    one = work(80)
    plan = memory.plan(one)
    sizes = [plan.of(phase, part) for phase in Phase for part in Part if plan.of(phase, part)]
    found = widths(drawn(one))
    assert len(found) == len(sizes)
    assert [width / found[0] for width in found] == pytest.approx([size / sizes[0] for size in sizes], rel=0.01)
    (limit,) = {float(left) for left in re.findall(r"left:([\d.]+)%", drawn(one))}
    assert limit / found[0] == pytest.approx(plan.limit / sizes[0], rel=0.01) and limit < 100


def test_a_run_that_fits_says_so_and_advises_nothing():
    html = drawn(work(80))
    assert "Fits: at most" in html and "To make it fit" not in html and "too much" not in html


def test_a_run_that_does_not_fit_names_settings_and_values_to_click():
    one = work(48)
    html = drawn(one)
    assert "Does not fit" in html and "too much" in html
    for step in memory_advice.advise(one).steps:
        assert memory_bars.button(step.setting, step.value) in html and escape(step.cost) in html


def test_a_button_is_named_by_what_it_does():
    html = memory_bars.button("memory.adam_offload", True)
    assert ">Set memory.adam_offload to on<" in html and 'data-value="true"' in html


def test_what_nothing_helps_says_so():
    assert "No settings make it fit" in drawn(work(8))


def test_the_smallest_share_is_offered_where_it_is_not_set():
    share = memory.plan(work(80)).smallest_share
    assert f'data-value="{share}"' in drawn(work(80))
    assert "data-setting" not in drawn(work(80, memory__vllm_share=share))


def test_parts_on_gpus_of_their_own_have_bars_of_their_own():
    html = drawn(work(80, memory__colocate_all=False))
    assert "training: policy" in html and "training: rollout" in html


def test_estimates_stand_beside_measurements():
    html = str(memory_bars.measured([Compared(None, 22 * 2**30, 20 * 2**30), Compared(Part.JUDGE, 0, 0)]))
    assert "whole run" in html and "+10%" in html and "22.0" in html and "<td>-</td>" in html


def measured_run(folder, *samples: tuple[str, float]) -> rundir.RunDir:
    run = rundir.RunDir(folder / "20260102-030405-abcd")
    run.path.mkdir()
    config = resolve("single-gpu-80gb", {"data.path": "notes.csv"})
    rundir.write_json(run.config, {"id": run.id, "created": 1.0} | config.model_dump(mode="json"))
    for number, (phase, mb) in enumerate(samples):
        held = [{"pid": 7, "name": "ray::PolicyModelActor", "role": "policy", "mb": mb}]
        line = {"time": number, "phase": phase, "total_mb": mb, "source": "nvml", "processes": held}
        rundir.append_line(run.memory, line)
    return run


def test_after_a_run_history_has_the_estimate_beside_the_peak(tmp_path):
    run = measured_run(tmp_path, ("training", 30720.0), ("training", 40960.0), ("loading", 70000.0))
    with Store(tmp_path / "runs.db") as store:
        ingest(store, run.path)
        html = str(run_list.memory_of(store, run, memory_report.gpu_bytes(80)))
        assert "whole run" in html and "<td>40.0</td>" in html
        assert f"--run {run.id}" in run_list.memory_of(store, run, None)


def test_a_run_without_a_gpu_has_no_such_table(tmp_path):
    run = measured_run(tmp_path)
    with Store(tmp_path / "runs.db") as store:
        assert run_list.memory_of(store, run, None) == ""


def held(preset: str, **changes) -> dict:
    return dict(settings.of_preset(preset)) | {key.replace("__", "."): value for key, value in changes.items()}


def test_the_plan_in_the_form_needs_no_notes_but_settings_that_fit_together():
    assert "Fits" in run_memory.plan("single-gpu-80gb", held("single-gpu-80gb"), 80)
    assert run_memory.UNFIT in run_memory.plan("single-gpu-80gb", held("single-gpu-80gb", train__batch_size=7), 80)


def test_a_field_for_the_gpu_that_holds_nothing_is_no_gpu():
    """Gradio sends 0 for an empty number that has only just been shown."""
    values = held("single-gpu-80gb", cluster__ray_address="http://head:8265")
    assert run_memory.plan("single-gpu-80gb", values, 0) == run_memory.plan("single-gpu-80gb", values, None)


def test_a_policy_of_unknown_shape_says_what_to_give():
    assert "is not known here: give a local folder" in run_memory.plan("single-gpu-80gb", held(
        "single-gpu-80gb", policy="some/model"), 80)  # fmt: skip


def test_the_gpus_of_a_cluster_are_not_this_machine_s():
    values = held("single-gpu-80gb", cluster__ray_address="http://head:8265")
    assert run_memory.ELSEWHERE in run_memory.plan("single-gpu-80gb", values, None)


def test_a_click_sets_settings_alone_and_only_to_what_they_hold():
    values = held("single-gpu-80gb")
    assert run_memory.changed(values, "memory.zero_stage", 2)["memory.zero_stage"] == 2
    assert run_memory.changed(values, "memory.zero_stage", "<b>") == values
    assert run_memory.changed(values, "no.setting", 1) == values


def test_parts_that_share_a_gpu_are_one_bar():
    one = work(80, memory__colocate_all=False, memory__vllm_sleep=False, train__frozen_share=0.25)
    plan = memory.plan(one)
    rows = {row.name: row.total for row in memory_bars.bars(plan, list(Part))}
    assert rows["rollout: rollout and judge"] == plan.of(Phase.ROLLOUT, Part.ROLLOUT) + plan.of(
        Phase.ROLLOUT, Part.JUDGE
    )
    assert max(rows.values()) == plan.peak
