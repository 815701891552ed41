import json
import math
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher import tail
from launcher.trainer_log import (
    MAX_LINES,
    Bad,
    Checkpoint,
    EvalMetrics,
    Failure,
    Parser,
    Phase,
    PhaseChange,
    Progress,
    Signal,
    StepMetrics,
)

RECORDED = Path(__file__).parent / "recorded"
LOGS = sorted(path.name for path in RECORDED.glob("*.log"))
HEADER = "(PPOTrainer pid=4072) INFO 11-22 13:52:04 ppo_trainer.py:551] "


@cache
def parse(name):
    parser, events = Parser(), []
    for line in tail.read(RECORDED / name, 0).lines:
        events += parser.feed(*line)
    return events


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def feed(*lines):
    """Events of the lines but the first change of phase."""
    parser, events, offset = Parser(), [], 0
    for line in lines:
        data = line if isinstance(line, bytes) else line.encode()
        events += parser.feed(offset, data)
        offset += len(data) + 1
    return events[1:]


def steps_without_phases(*lines):
    return [event for event in feed(*lines) if not isinstance(event, PhaseChange)]


@pytest.mark.parametrize(
    ("name", "steps", "evals", "values_per_step"),
    [
        ("cpu-60-steps.log", range(1, 61), [], 27),
        ("cpu-selfplay-with-eval.log", range(1, 6), [2, 4], 41),
        ("h100-3b-lora-weight-sync-error.log", [], [], None),
        ("h100-3b-offload-2-steps-killed.log", [1, 2], [], 28),
        ("h100-3b-oom.log", [], [], None),
        ("h100-tiny-4-steps.log", range(1, 5), [], 28),
    ],
)
def test_every_step_and_evaluation_of_a_recorded_log(name, steps, evals, values_per_step):
    events = parse(name)
    assert [event.step for event in of(StepMetrics, events)] == list(steps)
    assert [event.step for event in of(EvalMetrics, events)] == evals
    assert {len(event.values) for event in of(StepMetrics, events)} <= {values_per_step}
    assert of(Bad, events) == []


def test_the_recorded_logs_are_all_tested():
    assert LOGS == [
        "cpu-60-steps.log", "cpu-selfplay-with-eval.log", "h100-3b-lora-weight-sync-error.log",
        "h100-3b-offload-2-steps-killed.log", "h100-3b-oom.log", "h100-tiny-4-steps.log",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [
        ("cpu-60-steps.log", 1, {"policy_loss": -0.024347733551601212, "vllm_kl": 6.610672428922833e-05, "kl": 0.0}),
        ("cpu-60-steps.log", 60, {"reward": 0.45830410718917847, "timing/step_total": 0.45529961585998535}),
        ("cpu-selfplay-with-eval.log", 5, {"reward": -0.7592132091522217, "dynamic_filtering_pass_rate": 200.0}),
        ("h100-3b-offload-2-steps-killed.log", 1, {"timing/step_total": 103.24155807495117, "is_attacker": 0.5}),
        (
            "h100-3b-offload-2-steps-killed.log",
            2,
            {"policy_loss": 2.7527428756002337e-05, "kl": -0.00017693336121737957},
        ),
        ("h100-tiny-4-steps.log", 4, {"attacker_reward": 0.003389375051483512, "policy_loss": 1.7667189240455627e-06}),
    ],
)
def test_values_are_those_in_the_log(name, step, expected):
    found = next(event for event in of(StepMetrics, parse(name)) if event.step == step)
    assert expected.items() <= found.values.items()


def test_an_evaluation_has_its_values():
    first = of(EvalMetrics, parse("cpu-selfplay-with-eval.log"))[0]
    assert first.values == {
        "eval_medec_vanilla_harmful_pass1": 0.0, "eval_medec_vanilla_harmful_response_length_mean": 16.0,
        "eval_medec_vanilla_harmful_truncated_rate": 1.0, "eval_medec_vanilla_benign_pass1": 1.0,
        "eval_medec_vanilla_benign_response_length_mean": 16.0, "eval_medec_vanilla_benign_truncated_rate": 1.0,
        "eval_response_length_mean": 16.0, "eval_truncated_rate": 1.0, "eval_num_samples": 6.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "saved", "bar"),
    [
        ("cpu-60-steps.log", 1, Progress(15, 15, 32, 32)),
        ("cpu-selfplay-with-eval.log", 1, Progress(1, 1, 40, 40)),
        ("h100-3b-lora-weight-sync-error.log", 0, Progress(1, 1, 0, 96)),
        ("h100-3b-offload-2-steps-killed.log", 0, Progress(1, 1, 64, 96)),
        ("h100-3b-oom.log", 0, Progress(1, 1, 0, 96)),
        ("h100-tiny-4-steps.log", 1, Progress(1, 1, 64, 64)),
    ],
)
def test_what_was_saved_and_how_far_it_came(name, saved, bar):
    events = parse(name)
    assert of(Checkpoint, events) == [Checkpoint("model", None, None)] * saved
    assert of(Progress, events)[-1] == bar


STEP = [Phase.GENERATING, Phase.EXPERIENCE, Phase.TRAINING, Phase.BROADCASTING]


@pytest.mark.parametrize(
    ("name", "phases"),
    [
        ("h100-tiny-4-steps.log", [Phase.LOADING, *STEP * 4, Phase.GENERATING, Phase.SAVING]),
        ("h100-3b-offload-2-steps-killed.log", [Phase.LOADING, *STEP * 2, *STEP[:3]]),
        ("h100-3b-oom.log", [Phase.LOADING, *STEP[:3]]),
        ("h100-3b-lora-weight-sync-error.log", [Phase.LOADING, *STEP]),
    ],
)
def test_the_phases_of_a_recorded_log(name, phases):
    assert [event.phase for event in of(PhaseChange, parse(name))] == phases


def test_the_phases_around_an_evaluation():
    phases = [event.phase for event in of(PhaseChange, parse("cpu-selfplay-with-eval.log"))]
    assert Counter(phases)[Phase.EVALUATING] == 2
    assert phases[phases.index(Phase.EVALUATING) + 1] is Phase.GENERATING
    assert phases[-1] is Phase.ENDING


def test_a_log_without_an_error_has_none():
    for name in ("cpu-60-steps.log", "cpu-selfplay-with-eval.log", "h100-tiny-4-steps.log"):
        assert of(Failure, parse(name)) == [] == of(Signal, parse(name))


def test_out_of_memory_is_told_apart_from_rays_wrappers():
    failures = of(Failure, parse("h100-3b-oom.log"))
    last = failures[-1]
    assert {(failure.offset, failure.process) for failure in failures} == {(46344, "")}
    assert last.summary.startswith("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 11.50 GiB.")
    assert last.traceback.startswith('Traceback (most recent call last):\n  File "<frozen runpy>", line 198')
    assert last.traceback.count("\n") == 344 - 287
    assert "\x1b" not in last.traceback
    assert "    self.optimizer.step()\n" in last.traceback


def test_an_error_of_an_engine_process_loses_its_prefixes():
    failures = of(Failure, parse("h100-3b-lora-weight-sync-error.log"))
    last = {failure.offset: failure for failure in failures}
    assert list(last) == [63331, 79456]
    assert last[63331].process == ""
    assert last[63331].summary.startswith(
        "Exception: Call to collective_rpc method failed: There is no module or parameter named 'base_model'"
    )
    assert "EngineCore pid=29164" in last[79456].process
    assert last[79456].summary.startswith("ValueError: There is no module or parameter named 'base_model'")
    assert "pid=" not in last[79456].traceback
    assert last[79456].traceback.startswith("Traceback (most recent call last):\n  File ")
    assert last[79456].traceback.count("\n") == 531 - 502


def test_a_killed_run_got_a_signal():
    events = parse("h100-3b-offload-2-steps-killed.log")
    assert of(Signal, events) == [Signal("SIGTERM")] * 2
    assert of(Failure, events) == []


def test_bare_nan_and_infinities_are_numbers():
    line = HEADER + "✨ Global step 3: {'kl': nan, 'a': inf, 'b': -inf, 'c': -1e-07, 'd': 5, 'e/f': 1.}"
    (event,) = steps_without_phases("first", line)
    assert event.step == 3
    assert math.isnan(event.values.pop("kl"))
    assert event.values == {"a": math.inf, "b": -math.inf, "c": -1e-07, "d": 5.0, "e/f": 1.0}


@pytest.mark.parametrize(
    "torn",
    [
        HEADER + "✨ Global step 3: {'kl': 0.5, 'rew",
        HEADER + "✨ Global step 3: ",
        HEADER + "✨ Global step 3: {'kl': nan, 'x': __import__('os').system('true')}",
        HEADER + "✨ Global step 3: {'kl': tensor(0.5)}",
        HEADER + "✨ Global step 3: {'kl': None}",
        HEADER + "✨ Global step 3: {'kl': 0.5 'b': 1}",
        HEADER + "✨ Global step three: {'kl': 0.5}",
        HEADER + f"✨ Global step {10**30}: {{'kl': 0.5}}",
        "p step 2: {Global step 3: {'kl': 0.5}",
        HEADER.replace("551", "598") + "✨ Evaluation completed in 0:00:00, global_step 2, eval_metrics: {'eval_a",
    ],
)
def test_a_line_that_looks_like_metrics_and_is_none_is_counted(torn):
    assert len(of(Bad, feed("first", torn))) == 1
    assert of(StepMetrics, feed("first", torn)) == of(EvalMetrics, feed("first", torn)) == []


def test_bytes_that_are_no_text_are_counted():
    assert of(Bad, feed("first", b"\xff\xfe broken", b"\xc3")) == [Bad("not UTF-8")] * 2


def test_the_models_own_text_says_nothing():
    sample = HEADER.replace("551", "224") + "Sample: ['Global step 7: {'a': 1} Episode [1/2]:  25%|##| 8/32 [', 0.5]"
    assert feed("first", sample, HEADER + "Sample: ['Traceback (most recent call last):") == []


def test_metrics_glued_to_a_bar_are_read():
    glued = "(PPOTrainer pid=1) \rEpisode [1/2]:  25%|##▌  | 8/32 [00:01<00:03,  6.19it/s]"
    events = steps_without_phases("first", glued + HEADER[22:] + "✨ Global step 9: {'kl': 0.5}\rEpisode [1/2]:  50%|#")
    assert events == [StepMetrics(9, {"kl": 0.5})]
    assert steps_without_phases("first", glued + "\x1b[A" + glued[19:]) == [Progress(1, 2, 8, 32)] * 2


def test_colours_prefixes_and_the_seconds_column_do_not_matter():
    plain = HEADER + "✨ Global step 9: {'kl': 0.5}"
    coloured = "\x1b[36m(PPOTrainer pid=4072)\x1b[0m" + plain[21:] + "\x1b[32m [repeated 2x across cluster]\x1b[0m"
    for line in (plain, coloured, f"{37.83:8.2f} {plain}", plain[22:]):
        assert steps_without_phases("first", line) == [StepMetrics(9, {"kl": 0.5})]


def test_asynchronous_training_prints_without_stars():
    header = HEADER.replace("ppo_trainer.py:551", "ppo_trainer_async.py:214")
    lines = header + "Eval at step 4: {'eval_a_pass1': 0.5}", header + "Global step 5: {'kl': 0.5}"
    assert steps_without_phases("first", *lines) == [EvalMetrics(4, {"eval_a_pass1": 0.5}), StepMetrics(5, {"kl": 0.5})]


def test_a_best_checkpoint_has_its_tag():
    line = (
        "INFO 11-22 13:29:14 ppo_trainer.py:382] Saved best checkpoint: best_global_step2 (eval_default_pass1=0.0901)"
    )
    assert feed("first", line)[0] == Checkpoint("best", "best_global_step2", 2)


def test_an_exception_with_a_cause_is_named_by_the_cause():
    lines = [
        "Traceback (most recent call last):", '  File "a.py", line 1', "ValueError: bad notes", "",
        "The above exception was the direct cause of the following exception:", "",
        "Traceback (most recent call last):", '  File "b.py", line 2', "RuntimeError: cannot start",
    ]  # fmt: skip
    failures = of(Failure, feed("first", *lines))
    assert [failure.summary for failure in failures] == ["ValueError: bad notes", "RuntimeError: cannot start"]
    assert len({failure.offset for failure in failures}) == 2


def test_tracebacks_of_two_processes_do_not_mix():
    lines = [
        "(A pid=1) Traceback (most recent call last):", "(B pid=2) Traceback (most recent call last):",
        '(A pid=1)   File "a.py"', '(B pid=2)   File "b.py"', "(A pid=1) \rbar 50%", "(B pid=2) KeyError: 'b'",
        "(A pid=1) ValueError: a",
    ]  # fmt: skip
    first, second = of(Failure, feed("first", *lines))
    assert first.traceback == "Traceback (most recent call last):\n  File \"b.py\"\nKeyError: 'b'"
    assert second.traceback == 'Traceback (most recent call last):\n  File "a.py"\nValueError: a'
    assert (first.process, second.process) == ("(B pid=2)", "(A pid=1)")


@pytest.mark.parametrize(
    "line",
    [
        "train_ppo_ray.py: error: unrecognized arguments: --nonsense",
        "Fatal Python error: Segmentation fault",
        "(raylet) 2 Workers (tasks / actors) killed due to memory pressure (OOM), 0 Workers crashed",
    ],
)
def test_errors_without_a_traceback(line):
    (failure,) = of(Failure, feed("first", line))
    assert failure.summary == line


def test_an_endless_traceback_stays_small():
    lines = (
        ["Traceback (most recent call last):"] + ["    deeper " + "x" * 9999] * 3 * MAX_LINES + ["RecursionError: deep"]
    )
    parser = Parser()
    events = [event for number, line in enumerate(lines) for event in parser.feed(number, line.encode())]
    assert of(Failure, events)[-1].traceback.endswith("RecursionError: deep")
    assert of(Failure, events)[-1].traceback.count("\n") < MAX_LINES
    assert len(json.dumps(parser.state())) < 2_000_000


@pytest.mark.parametrize("name", LOGS)
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_a_parser_goes_on_from_its_state(name, data):
    lines = tail.read(RECORDED / name, 0).lines
    cut = data.draw(st.integers(0, len(lines)))
    first = Parser()
    events = [event for line in lines[:cut] for event in first.feed(*line)]
    state = json.loads(json.dumps(first.state())) if cut else None
    second = Parser(state)
    events += [event for line in lines[cut:] for event in second.feed(*line)]
    assert events == parse(name)
