import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from launcher import command
from launcher.config import resolve
from launcher.engine import Engine
from launcher.rundir import RunDir
from medical_team.agent_settings import AgentSettings, from_environment

RUN = RunDir(Path("/runs/20260101-000000-abcd"))


def job(settings=None, preset="cpu-demo", **start) -> command.Command:
    config = resolve(preset, settings or {})
    return command.build(command.Start(config, RUN, **start), Engine(config.device, Path("/engine/python"), {}))


def flags(built: command.Command) -> dict[str, str]:
    """Flag to value; a bare switch has the value ''."""
    found, words = {}, built.argv[3:]
    for word, after in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            found[word] = "" if after.startswith("--") else after
    return found


def test_self_play_on_a_cpu():
    built = flags(job())
    assert job().argv[:3] == ("/engine/python", "-m", "openrlhf.cli.train_ppo_ray")
    assert built["--train.agent_func_path"].endswith("medical_team/openrlhf_agent.py")
    assert "--reward.remote_url" not in built
    assert (built["--rollout.n_samples_per_prompt"], built["--algo.advantage.estimator"]) == ("2", "reinforce")
    assert (built["--vllm.sync_backend"], built["--ds.attn_implementation"]) == ("gloo", "sdpa")
    assert not {"--vllm.enable_sleep", "--train.colocate_all", "--ds.enable_sleep"} & built.keys()
    assert built["--algo.advantage.is_correction_level"] == "token"


def test_the_assessor_alone_uses_the_reward_function():
    built = flags(job(preset="assessor-only"))
    assert built["--reward.remote_url"].endswith("medical_team/local_reward_function.py")
    assert "--train.agent_func_path" not in built


def test_memory_settings_reach_a_gpu_job():
    built = flags(job({"device": "cuda", "memory.vllm_share": 0.25, "memory.adam_offload": True}))
    assert built["--vllm.gpu_memory_utilization"] == "0.25"
    assert {"--vllm.enable_sleep", "--train.colocate_all", "--ds.enable_sleep", "--ds.adam_offload"} <= built.keys()
    assert built["--vllm.sync_backend"] == "nccl"


def test_the_optimizer_s_threads_reach_a_gpu_job_alone():
    threads = {"memory.adam_offload": True, "memory.cpu_threads": 14}
    assert job({"device": "cuda"} | threads).env["OMP_NUM_THREADS"] == "14"
    assert "OMP_NUM_THREADS" not in job({"device": "cuda"}).env | job(threads).env


def test_without_evaluation_or_checkpoints_their_flags_are_off():
    built = flags(job({"eval.steps": 0, "checkpoint.steps": 0}))
    assert built["--ckpt.save_steps"] == "-1"
    assert not any(flag.startswith("--eval.") for flag in built)


def test_a_resume_loads_the_checkpoint_and_tells_the_agent_where_it_goes_on():
    built = job(attempt=2, step=20)
    assert "--ckpt.load_enable" in flags(built) and "--ckpt.load_enable" not in flags(job())
    settings = AgentSettings.model_validate_json(built.env["SECOND_OPINION"])
    assert (settings.attempt, settings.start_step) == (2, 20)


def test_the_environment_carries_custom_configs_and_drops_what_breaks_a_cpu_job(monkeypatch):
    built = job({"custom_configs.remove_ties": False})
    whole = built.environment(
        {"CUDA_VISIBLE_DEVICES": "", "RAY_ADDRESS": "auto", "HOME": "/root", "PYTHONPATH": "/mine"}
    )
    assert "CUDA_VISIBLE_DEVICES" not in whole and "RAY_ADDRESS" not in whole
    assert whole["HOME"] == "/root" and "launcher/shim" in whole["PYTHONPATH"]
    for key, value in whole.items():
        monkeypatch.setenv(key, value)
    settings, game = from_environment()
    assert game == resolve("cpu-demo", {"custom_configs.remove_ties": False}).custom_configs
    assert settings.run == RUN.id and settings.games == RUN.games and settings.prompts_per_step == 32


def test_the_run_stands_first_in_the_settings_so_that_its_processes_can_be_found():
    assert job().env["SECOND_OPINION"].startswith('{"run":"20260101-000000-abcd"')


@pytest.mark.parametrize(("settings", "gpus"), [({}, 2), ({"train.kl_coefficient": 0.01}, 3)])
def test_ray_is_told_of_one_gpu_a_role(settings, gpus):
    assert f'"GPU": {gpus}' in job(settings).env["RAY_OVERRIDE_RESOURCES"]


def test_rays_sockets_fit_their_limit():
    longest = f"{job().env['RAY_TMPDIR']}/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
    assert len(longest) < 107


def test_the_shell_text_is_the_same_command():
    built = job({"name": "it's; rm -rf /"})
    text = built.shell().replace(shlex.quote(built.argv[0]), "printenv -0; true", 1)
    seen = subprocess.run(
        ["sh", "-c", text.split(" -m openrlhf")[0]], capture_output=True, env=os.environ | {"RAY_ADDRESS": "x"}
    )
    environment = dict(entry.split("=", 1) for entry in seen.stdout.decode().split("\0") if entry)
    assert all(environment[key] == value for key, value in built.env.items())
    assert "RAY_ADDRESS" not in environment
    assert tuple(shlex.split(built.shell()))[-len(built.argv) :] == built.argv


@pytest.mark.parametrize(
    ("judge", "offline"),
    [
        ({}, True),
        ({"judge.kind": "local", "judge.model": "org/judge"}, False),
        ({"judge.kind": "server", "judge.model": "org/judge"}, True),
        ({"judge.kind": "local", "judge.model": "{folder}"}, True),
    ],
)
def test_a_job_goes_online_only_for_a_model_that_is_no_folder(tmp_path, judge, offline):
    given = {key: value.format(folder=tmp_path) for key, value in judge.items()}
    built = job({"policy": str(tmp_path)} | given)
    assert ("HF_HUB_OFFLINE" in built.env) is offline


def test_a_judges_token_is_named_to_the_job_and_never_written(monkeypatch):
    monkeypatch.setenv("JUDGE_TOKEN", "s3cret")
    built = job({"judge.kind": "http", "judge.url": "https://judge/v1", "judge.token_variable": "JUDGE_TOKEN"})
    assert "s3cret" not in built.shell() and "JUDGE_TOKEN" in built.shell()
    assert built.environment(os.environ)["JUDGE_TOKEN"] == "s3cret"


def test_a_run_on_a_cluster_is_a_job_with_our_environment_and_no_secret(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    on_cluster = {"cluster.ray_address": "http://head:8265/", "cluster.ray_python": "/opt/engine/bin/python"}
    built = job(on_cluster | {"cluster.rollout_engines": 2}, attempt=2, step=4)
    assert built.argv[:5] == ("/engine/python", "-m", "launcher.ray_job", "--address", "http://head:8265")
    words = list(built.argv)
    assert words[words.index("--submission-id") + 1] == f"{RUN.id}-2"
    trainer = words[words.index("--") + 1 :]
    assert trainer[:3] == ["/opt/engine/bin/python", "-m", "openrlhf.cli.train_ppo_ray"]
    assert trainer[trainer.index("--train.agent_func_path") + 1] == "medical_team/openrlhf_agent.py"
    env = json.loads(words[words.index("--runtime-env-json") + 1])["env_vars"]
    assert {"CUSTOM_CONFIGS", "SECOND_OPINION", "DS_ACCELERATOR"} <= env.keys()
    assert env["PYTHONPATH"] == "launcher/shim:launcher/flash_attn_stub:."
    assert not {"RAY_TMPDIR", "TMPDIR", "RAY_OVERRIDE_RESOURCES"} & env.keys()
    assert json.loads(env["SECOND_OPINION"])["prompts_per_step"] == 16
    assert "hf_very_secret" not in built.shell() and "RAY_ADDRESS" in built.unset
    assert built.env["SECOND_OPINION"] == env["SECOND_OPINION"]  # the client is found by the run's mark too


def test_the_reference_model_may_have_gpus_of_its_own():
    apart = {"device": "cuda", "memory.colocate_all": False, "cluster.nodes": 2, "train.kl_coefficient": 0.1}
    sizes = {"train.micro_batch_size": 16, "rollout.micro_batch_size": 16, "cluster.reference_nodes": 1}
    built = flags(job(apart | sizes))
    assert (built["--actor.num_nodes"], built["--ref.num_nodes"], built["--ref.num_gpus_per_node"]) == ("2", "1", "1")
    assert flags(job({"device": "cuda"}))["--ref.num_nodes"] == "1"
