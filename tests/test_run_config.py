import json
import re

import pytest
from pydantic import BaseModel, ValidationError

from launcher import config, runs, settings
from launcher.config import RunConfig, SettingError, resolve
from medical_team.types import ErrorType


@pytest.mark.parametrize("preset", config.presets())
def test_every_preset_resolves(preset):
    extra = {"data.path": "notes.csv"} if settings.of_preset(preset)["data.source"] == "medec" else {}
    resolved = resolve(preset, extra)
    assert resolved.preset == preset
    assert RunConfig.model_validate_json(resolved.model_dump_json()) == resolved


def test_settings_are_laid_over_the_preset():
    made = resolve(
        "cpu-demo", {"seed": 7, "train.steps": 3, "custom_configs.error_types": ["dosage"], "eval.steps": "0"}
    )
    assert (made.seed, made.train.steps, made.eval.steps) == (7, 3, 0)
    assert made.custom_configs.error_types == (ErrorType.DOSAGE,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trian.steps": 3}, "there is no section 'trian'"),
        ({"train.step": 3}, "train has: steps, batch_size"),
        ({"seed.x": 3}, "there is no section 'seed'"),
        ({"banana": 3}, "a run has: name, preset, mode"),
    ],
)
def test_an_unknown_setting_is_named(settings, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        resolve("cpu-demo", settings)


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(SettingError, match="cpu-demo"):
        resolve("cpu-dmo")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train.batch_size": 48}, "train.batch_size 48 must divide the 64 samples of a step"),
        ({"train.micro_batch_size": 24}, "must divide train.batch_size 64"),
        ({"rollout.micro_batch_size": 7}, "must divide the 64 samples of a step"),
        ({"rollout.max_new_tokens": 240}, "must be below rollout.max_len 240"),
        ({"train.estimator": "rloo"}, "subtracts the other player's reward"),
        ({"mode": "assessor_only", "train.estimator": "rloo"}, "set rollout.samples_per_prompt to 2"),
        ({"data.source": "medec"}, "data.path is needed"),
        ({"data.eval_cases": 2000}, "must be below data.cases"),
        ({"train.steps": 0}, "greater than or equal to 1"),
        ({"train.learning_rate": "fast"}, "valid number"),
        ({"cluster.gpus_per_node": 2}, "on a CPU the cluster settings must all be 1"),
        ({"device": "cuda", "cluster.reference_nodes": 2}, "must be 0 with memory.colocate_all"),
        ({"device": "cuda", "cluster.rollout_engines": 2}, "1 GPUs that train must equal"),
        ({"custom_configs.max_turns": 3}, "a game has 2 turns"),
    ],
)
def test_settings_that_do_not_fit_say_what_would(settings, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        resolve("cpu-demo", settings)


def test_samples_of_a_step():
    assert resolve("cpu-demo").samples_per_step == 64
    alone = {"custom_configs.no_defender_turn": True, "train.batch_size": 32}
    assert resolve("cpu-demo", alone).samples_per_step == 32
    assert resolve("assessor-only").samples_per_step == 64


def fields(model):
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from ((f"{name}.{inner}", text) for inner, text in fields(field.annotation))
        else:
            yield name, field.description


def test_every_setting_has_help():
    assert [name for name, text in fields(RunConfig) if not text] == []


def test_what_the_interface_promises_is_there():
    names = {name for name, _ in fields(RunConfig)}
    assert {"seed", "data.path", "train.steps", "eval.steps", "checkpoint.steps"} <= names
    assert "CUSTOM_CONFIGS" in json.dumps(RunConfig.model_json_schema())


def test_an_optimizer_on_the_cpu_gets_this_machine_s_threads_unless_told_how_many():
    offloaded = {"data.path": "notes.csv"}
    assert runs.settled(resolve("single-gpu-24gb", offloaded)).memory.cpu_threads >= 1
    told = resolve("single-gpu-24gb", offloaded | {"memory.cpu_threads": 3})
    assert runs.settled(told).memory.cpu_threads == 3
    assert runs.settled(resolve("single-gpu-80gb", offloaded)).memory.cpu_threads == 0


def test_a_reference_model_on_the_cpu_needs_zero_stage_3():
    with pytest.raises(ValidationError, match="memory.reference_offload moves nothing unless memory.zero_stage is 3"):
        resolve("cpu-demo", {"memory.reference_offload": True})
