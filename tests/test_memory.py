"""The memory plan against what an H100 was measured to hold, and its laws."""

from dataclasses import replace

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import memory_report
from launcher.config import presets, resolve
from launcher.memory import GIB, GROUP, Judge, Part, Phase, Plan, Workload, judge_of, plan
from launcher.memory_advice import advise, changed
from launcher.memory_measured import MIB, compare
from launcher.memory_parts import JUDGE_PROCESS
from launcher.model_shape import of_model
from launcher.store import MemoryPoint

H100 = int(79.18 * GIB)
QWEN_3B, QWEN_1_5B = of_model("Qwen/Qwen2.5-3B-Instruct"), of_model("Qwen/Qwen2.5-1.5B-Instruct")
JUDGE = Judge(of_model("google/medgemma-4b-it").parameters)
NOTES = {"data.path": "notes.csv"}
ALL = QWEN_3B.parameters
"""As a group of parameters: what OpenRLHF makes of them where nothing divides them."""
LONGEST = 760
"""Tokens of the longest sequences that were measured: replies of 512."""


def workload(
    preset="guide-single-gpu", policy=QWEN_3B, gpu=H100, judge=None, longest=None, group=GROUP, **settings
) -> Workload:
    given = {name.replace("__", "."): value for name, value in settings.items()}
    return Workload(resolve(preset, NOTES | given), policy, gpu, judge, longest, group)


def gib(size: int) -> float:
    return size / GIB


# What was measured


def measured(judge=JUDGE, **settings) -> Plan:
    return plan(workload(judge=judge, longest=LONGEST, memory__zero_stage=2, group=ALL, **settings))


def expected(made: Plan) -> float:
    return gib(max(made.everywhere(phase) for phase in Phase))


def test_the_guide_s_optimizer_on_the_gpu_runs_out_of_memory_as_it_did():
    made = measured()
    assert not made.fits
    held = {part: gib(made.of(Phase.TRAINING, part)) for part in Part}
    # the policy held 59.23 GiB and asked for 11.50 more
    assert held == pytest.approx({"policy": 59.23 + 11.5, "reference": 7.63, "rollout": 1.70, "judge": 8.19}, rel=0.1)


def test_with_a_sleeping_judge_and_a_smaller_share_it_still_falls_short():
    made = measured(replace(JUDGE, sleeps=True), memory__vllm_share=0.25)
    assert not made.fits
    assert gib(made.peak) == pytest.approx(79.18 + 0.8, rel=0.1)


@pytest.mark.parametrize(("share", "peak"), [(0.5, 66.0), (0.25, 45.5)])
def test_with_adam_on_the_cpu_the_peak_is_as_it_was(share, peak):
    made = measured(memory__adam_offload=True, memory__vllm_share=share)
    assert made.fits
    assert gib(made.peak) == pytest.approx(peak, rel=0.1)


def test_stage_3_leaves_no_room_for_vllm_to_wake_beside_the_optimizer_and_a_judge():
    made = plan(workload("single-gpu-80gb", judge=JUDGE, longest=1100, memory__zero_stage=3))
    assert not made.fits
    held = {part: gib(made.of(Phase.ROLLOUT, part)) for part in Part}
    assert held == pytest.approx({"policy": 51.42, "reference": 8.64, "rollout": 13.49, "judge": 7.74}, rel=0.1)
    assert gib(made.of(Phase.TRAINING, Part.POLICY)) == pytest.approx(60.74, rel=0.1)


SHORT = {"rollout__max_new_tokens": 512, "rollout__max_len": 1024}
H200, LIKE_H100 = 150.8e9, 86e9
"""The latter is what was left of an H200."""


@pytest.mark.parametrize(
    ("preset", "settings", "gb", "policy", "peak"),
    [
        ("single-gpu-80gb", SHORT, None, 66.5, 76.3),
        ("single-gpu-80gb", {}, None, 67.5, 77.4),
        ("single-gpu-48gb", SHORT | {"memory__vllm_share": 0.168 * 79.65 / 44.7}, 48e9, 35.2, 44.5),
        ("guide-single-gpu", SHORT | {"memory__adam_offload": True}, None, 22.4, 56.5),
        ("guide-single-gpu", {}, LIKE_H100, 70.2, 79.5),
        ("single-gpu-80gb", SHORT, LIKE_H100, 67.8, 76.6),
        ("single-gpu-24gb", SHORT, 24e9, 11.6, 19.9),
        ("multi-gpu", SHORT, H200, 88.3 / 2, 159.2),  # the peak is that of both GPUs
    ],
)
def test_a_run_s_peak_is_as_it_was_with_a_judge_that_nobody_asked(preset, settings, gb, policy, peak):
    """The policy's own within 15 %: only in some of these is it the greater part of the peak."""
    model = QWEN_1_5B if preset == "single-gpu-24gb" else QWEN_3B
    made = plan(workload(preset, model, gpu=int(gb or H100), longest=LONGEST if settings else None, **settings))
    assert made.fits
    held = max(made.of(phase, Part.POLICY) + made.kept(phase, Part.POLICY) for phase in Phase)
    assert gib(held) == pytest.approx(policy, rel=0.15)
    assert expected(made) + 0.5 == pytest.approx(peak, rel=0.1)


@pytest.mark.parametrize(
    ("preset", "settings", "gb", "peak", "judge"),
    [
        ("guide-single-gpu", SHORT | {"memory__adam_offload": True}, None, 61.1, 5.5),
        ("guide-single-gpu", {}, None, 77.6, 8.0),
        ("single-gpu-80gb", SHORT, None, 75.9, 9.8),
        ("single-gpu-48gb", SHORT | {"memory__vllm_share": 0.168 * 79.65 / 44.7}, 48e9, 44.6, 9.8),
        ("single-gpu-48gb", {"memory__vllm_share": 0.168 * 79.65 / 44.7}, 48e9, 44.5, 10.0),
        ("single-gpu-24gb", SHORT, 24e9, 19.7, 0),
    ],
)
def test_a_run_s_peak_is_as_it_was_with_a_judge_that_was_asked(preset, settings, gb, peak, judge):
    """The judge's own peak is held to where it read for longer than the second between two samples."""
    asked = judge_of(resolve(preset, NOTES).judge)
    model = QWEN_1_5B if preset == "single-gpu-24gb" else QWEN_3B
    made = plan(workload(preset, model, gpu=int(gb or H100), judge=asked, **settings))
    assert made.fits
    assert expected(made) == pytest.approx(peak, rel=0.1)
    if judge > 9:
        assert gib(made.of(Phase.ROLLOUT, Part.JUDGE)) == pytest.approx(judge, rel=0.1)


@pytest.mark.parametrize(
    ("preset", "policy", "gb", "of_all"),
    [("single-gpu-80gb", QWEN_3B, LIKE_H100, 0.22), ("single-gpu-24gb", QWEN_1_5B, 24e9, 0.1)],
)
def test_shares_with_which_vllm_could_not_wake_do_not_fit(preset, policy, gb, of_all):
    settings = SHORT | {"memory__vllm_share": of_all * H200 / gb}
    assert not plan(workload(preset, policy, gpu=int(gb), longest=LONGEST, **settings)).fits


def test_the_cache_of_a_token_is_what_vllm_printed():
    printed = 33.0 * GIB / 961_216
    assert QWEN_3B.cache_bytes == pytest.approx(printed, rel=1e-3)


# Presets


@pytest.mark.parametrize(
    ("preset", "gb", "policy"),
    [
        ("guide-single-gpu", 80, QWEN_3B),
        ("single-gpu-80gb", 80, QWEN_3B),
        ("single-gpu-48gb", 45, QWEN_3B),  # the smallest of those that are sold as 48 GB
        ("single-gpu-24gb", 24, QWEN_1_5B),
        ("multi-gpu", 80, QWEN_3B),
        ("judge-on-second-gpu", 80, QWEN_1_5B),
    ],
)
def test_a_preset_fits_the_gpu_that_it_is_for_and_holds_every_game(preset, gb, policy):
    made = plan(workload(preset, policy, memory_report.gpu_bytes(gb), judge_of(resolve(preset, NOTES).judge)))
    assert made.fits
    assert made.share >= made.smallest_share


def test_every_gpu_preset_is_planned_here():
    gpu = {name for name in presets() if resolve(name, NOTES).device == "cuda"}
    assert gpu == {"guide-single-gpu", "single-gpu-80gb", "single-gpu-48gb", "single-gpu-24gb", "multi-gpu"} | {
        "judge-on-second-gpu", "ray-cluster",
    }  # fmt: skip


# Laws

MEMORY = {
    "memory__zero_stage": st.sampled_from([0, 1, 2, 3]),
    "memory__adam_offload": st.booleans(),
    "memory__vllm_sleep": st.booleans(),
    "memory__deepspeed_sleep": st.booleans(),
    "memory__gradient_checkpointing": st.booleans(),
    "memory__attention": st.sampled_from(["sdpa", "eager"]),
    "memory__vllm_share": st.floats(0.1, 0.9),
    "train__micro_batch_size": st.sampled_from([1, 2, 4, 8]),
    "rollout__micro_batch_size": st.sampled_from([1, 2, 4, 8]),
    "rollout__max_len": st.integers(1100, 8000),
    "train__kl_coefficient": st.sampled_from([0.0, 0.01]),
    "preset": st.sampled_from(["guide-single-gpu", "multi-gpu"]),
    "judge": st.sampled_from([None, JUDGE, replace(JUDGE, sleeps=True), replace(JUDGE, bits=8)]),
}
ANY = st.fixed_dictionaries(MEMORY).filter(
    lambda some: (some["preset"], some["train__micro_batch_size"]) != ("multi-gpu", 8)
)


few = hypothesis.settings(max_examples=40, deadline=None)


def totals(work: Workload) -> list[int]:
    made = plan(work)
    return [made.total(phase) for phase in Phase]


def no_less(more: Workload, fewer: Workload) -> bool:
    return all(one >= other for one, other in zip(totals(more), totals(fewer), strict=True))


@few
@given(ANY, st.integers(1, 20))
def test_a_deeper_policy_holds_more_in_every_phase(settings, layers):
    each = 77_000_000
    deeper = replace(QWEN_3B, layers=QWEN_3B.layers + layers, parameters=QWEN_3B.parameters + each * layers)
    more, fewer = workload(**settings | {"policy": deeper}), workload(**settings)
    assert no_less(more, fewer)
    assert plan(more).smallest_share >= plan(fewer).smallest_share
    assert totals(more)[2] > totals(fewer)[2]


@few
@given(ANY, st.sampled_from(["rollout__max_len", "train__micro_batch_size", "rollout__micro_batch_size"]))
def test_longer_sequences_and_larger_batches_hold_no_less(settings, grown):
    less = settings | {grown: max(settings[grown] // 2, 1 if "micro" in grown else 1100)}
    assert no_less(workload(**settings), workload(**less))


@few
@given(ANY, st.sampled_from(["vllm_sleep", "deepspeed_sleep", "gradient_checkpointing"]))
def test_what_is_there_to_save_memory_never_takes_any(settings, name):
    on, off = (workload(**settings | {f"memory__{name}": value}) for value in (True, False))
    assert no_less(off, on)


@few
@given(ANY)
def test_with_adam_on_the_cpu_training_takes_less(settings):
    on, off = (workload(**settings | {"memory__adam_offload": value}) for value in (True, False))
    assert totals(on)[2] < totals(off)[2]
    assert plan(on).host > plan(off).host


@few
@given(ANY)
def test_a_sleeping_engine_s_share_does_not_add_up_in_training(settings):
    small, large = (workload(**settings | {"memory__vllm_sleep": True, "memory__vllm_share": s}) for s in (0.2, 0.8))
    assert totals(small)[1:] == totals(large)[1:]
    assert totals(small)[0] < totals(large)[0]


@few
@given(ANY)
def test_the_parts_make_up_the_whole(settings):
    made = plan(workload(**settings))
    for phase in Phase:
        parts = [made.of(phase, part) for part in Part]
        scoring = phase is Phase.EXPERIENCE and bool(made.of(phase, Part.REFERENCE))
        assert max(parts) <= made.total(phase) <= sum(parts)
        assert (made.total(phase) < sum(parts)) is scoring  # policy and reference, one after the other
    assert sum(one.size for one in made.held) == sum(
        made.of(phase, part) + made.kept(phase, part) for phase in Phase for part in Part
    )
    assert all(one.size > 0 for one in made.held)


@few
@given(ANY, st.integers(12, 90))
def test_advice_makes_it_fit_and_holds_nothing_in_vain(settings, gb):
    work = workload(**settings | {"gpu": memory_report.gpu_bytes(gb)})
    advice = advise(work)
    chosen = {step.setting: step.value for step in advice.steps}
    if plan(work).fits:
        assert (advice.steps, advice.fits) == ((), True)
        return
    assert plan(changed(work, chosen)).fits is advice.fits
    assert advice.steps or not advice.fits
    if advice.fits:
        assert advice.steps[-1].peak == plan(changed(work, chosen)).peak
        for left_out in chosen:
            fewer = changed(work, {name: value for name, value in chosen.items() if name != left_out})
            assert fewer is None or not plan(fewer).fits


def test_advice_names_the_cheap_before_the_dear():
    steps = advise(workload("single-gpu-80gb", gpu=memory_report.gpu_bytes(45), judge=JUDGE)).steps
    assert [step.setting for step in steps][-2:] == ["train.micro_batch_size", "memory.adam_stream"]
    steps = advise(workload("single-gpu-80gb", gpu=memory_report.gpu_bytes(24), memory__zero_stage=3)).steps
    assert steps[-1].setting == "memory.adam_offload"


def test_parts_on_gpus_of_their_own_do_not_add_up():
    apart = plan(workload(memory__colocate_all=False, memory__vllm_sleep=False))
    assert apart.total(Phase.ROLLOUT) == max(apart.of(Phase.ROLLOUT, part) for part in Part)


def test_a_share_that_holds_not_even_one_sequence_does_not_fit():
    made = plan(workload("single-gpu-48gb", memory__vllm_share=0.05))
    assert not made.fits and made.peak < made.limit
    step = advise(workload("single-gpu-48gb", memory__vllm_share=0.05)).steps[0]
    assert (step.setting, step.value) == ("memory.vllm_share", made.smallest_share)


# After the run


def point(phase: str, total: float, source="nvml", **roles: float) -> MemoryPoint:
    return MemoryPoint(0.0, phase, source, total, roles, ())


def test_estimates_stand_beside_the_greatest_of_what_was_measured():
    made = plan(workload())
    points = [
        point("loading", 9e9, policy=9e9),
        point("generating", 60_000.0, policy=7000.0, rollout=41_000.0),
        point("training", 72_000.0, policy=64_000.0, rollout=1700.0),
        point("training", 5e9, source="pss", policy=5e9),
    ]
    whole, *parts = compare(made, points)
    assert whole == (None, min(made.limit, made.peak + made.kept(Phase.TRAINING, Part.POLICY)), 72_000 * MIB)
    assert {one.part: one.measured // MIB for one in parts} == {
        "policy": 64_000, "reference": 0, "rollout": 41_000, "judge": 0,
    }  # fmt: skip
    assert whole.off == pytest.approx(whole.estimated / (72_000 * MIB) - 1)
    assert parts[1].off is None


def test_what_two_gpus_hold_is_compared_as_a_sum():
    made = plan(workload("multi-gpu", judge=JUDGE))
    whole, *parts = compare(made, [point("training", 1000.0, policy=1000.0)])
    assert whole.estimated == 2 * max(made.total(phase) + made.kept(phase, Part.POLICY) for phase in Phase)
    assert [one.estimated for one in parts] == [
        2 * max(made.of(phase, part) + made.kept(phase, part) for phase in Phase) for part in Part
    ]


def test_frozen_opponents_hold_their_weights_in_every_phase():
    """bf16, beside the policy: the start model and a past one; the start model alone against a trained attacker."""
    plain, shared = plan(workload()), plan(workload(train__frozen_share=0.25))
    alone = plan(workload(custom_configs__no_defender_turn=True, rollout__batch_size=64))
    for phase in Phase:
        assert shared.of(phase, Part.ROLLOUT) == plain.of(phase, Part.ROLLOUT) and not plain.of(phase, Part.JUDGE)
        assert shared.of(phase, Part.JUDGE) == 4 * QWEN_3B.parameters + JUDGE_PROCESS
        assert alone.of(phase, Part.JUDGE) == 2 * QWEN_3B.parameters + JUDGE_PROCESS


def test_a_judge_lies_beside_the_rollout_engine_where_the_parts_have_gpus_of_their_own():
    apart = plan(workload(judge=JUDGE, memory__colocate_all=False, memory__vllm_sleep=False))
    both = apart.of(Phase.ROLLOUT, Part.ROLLOUT) + apart.of(Phase.ROLLOUT, Part.JUDGE)
    assert apart.total(Phase.ROLLOUT) == both > apart.of(Phase.ROLLOUT, Part.POLICY)
    full = plan(workload(judge=JUDGE, memory__colocate_all=False, memory__vllm_sleep=False, memory__vllm_share=0.93))
    assert not full.fits


def test_a_judge_that_sleeps_takes_the_machine_s_own_memory():
    assert plan(workload(judge=replace(JUDGE, sleeps=True))).host - plan(workload(judge=JUDGE)).host == JUDGE.weights


def test_advice_moves_nothing_to_where_there_is_no_room():
    little = replace(workload(gpu=int(48 * GIB), memory__deepspeed_sleep=False), main=4 * GIB)
    moved = {"memory.adam_stream", "memory.adam_offload", "memory.deepspeed_sleep"}
    assert {step.setting for step in advise(replace(little, main=None)).steps} & moved
    assert not {step.setting for step in advise(little).steps} & moved
    assert advise(replace(little, main=200 * GIB)) == advise(replace(little, main=None))
