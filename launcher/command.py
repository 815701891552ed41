"""From RunConfig to the command that trains: pure. The command can be pasted into a shell and does the same there."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from launcher import prepare, wandb
from launcher.config import Mode, RunConfig
from launcher.engine import UNSET, Engine, environment
from launcher.rundir import PROJECT, RunDir
from medical_team.agent_settings import AgentSettings
from medical_team.judge.settings import LOCAL

AGENT = Path("medical_team") / "openrlhf_agent.py"
REWARD_FUNCTION = Path("medical_team") / "local_reward_function.py"
TRAINER = "openrlhf.cli.train_ppo_ray"
MERGED = {"RAY_OVERRIDE_JOB_RUNTIME_ENV": "1"}
"""OpenRLHF gives some variables of a job's environment again, which Ray otherwise takes for a conflict."""
OTHER_CLUSTERS = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
"""Ray would submit to these rather than to the address that it is given."""


@dataclass(frozen=True)
class Command:
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """What the job's environment has besides the launcher's own."""
    unset: tuple[str, ...]

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """The job's whole environment."""
        return {key: value for key, value in base.items() if key not in self.unset} | dict(self.env)

    def shell(self) -> str:
        """The command as text for a POSIX shell."""
        words = ["env", *(f"-u{name}" for name in self.unset), *(f"{key}={value}" for key, value in self.env.items())]
        return shlex.join([*words, *self.argv])


class Start(NamedTuple):
    """One start of a run: the first, or a resume from the checkpoint of `step`."""

    config: RunConfig
    rundir: RunDir
    attempt: int = 1
    step: int = 0


Value = str | int | float | bool | None | Path
"""True is a bare switch; False and None leave the flag out."""


def _cuda(start: Start) -> bool:
    return start.config.device == "cuda"


def _self_play(start: Start) -> bool:
    return start.config.mode is Mode.SELF_PLAY


def _wandb(start: Start, value: str | None) -> str | None:
    return value if start.config.logging.wandb.enabled else None


def _on_cluster(start: Start) -> bool:
    return start.config.cluster.ray_address is not None


def _code(start: Start, file: Path) -> Path:
    """Of the project; on a cluster in the working directory that Ray gives each process of the job."""
    return file if _on_cluster(start) else PROJECT / file


def _local(start: Start, name: str) -> Path:
    return start.rundir.data / name


# OpenRLHF's flag -> its value for a start. The one place that knows OpenRLHF's names.
FLAGS: dict[str, Callable[[Start], Value]] = {
    "--actor.model_name_or_path": lambda s: start_model(s),
    "--train.agent_func_path": lambda s: _code(s, AGENT) if _self_play(s) else None,
    "--reward.remote_url": lambda s: None if _self_play(s) else _code(s, REWARD_FUNCTION),
    "--data.prompt_dataset": lambda s: _local(s, "train.jsonl"),
    "--data.input_key": lambda s: "input",
    "--data.label_key": lambda s: "label",
    "--data.max_len": lambda s: s.config.rollout.max_len,
    "--rollout.batch_size": lambda s: s.config.rollout.batch_size,
    "--rollout.micro_batch_size": lambda s: s.config.rollout.micro_batch_size,
    "--rollout.n_samples_per_prompt": lambda s: s.config.samples_per_prompt,
    "--rollout.max_new_tokens": lambda s: s.config.rollout.max_new_tokens,
    "--rollout.temperature": lambda s: s.config.rollout.temperature,
    "--rollout.top_p": lambda s: s.config.rollout.top_p,
    "--train.batch_size": lambda s: s.config.train.batch_size,
    "--train.micro_batch_size": lambda s: s.config.train.micro_batch_size,
    "--train.max_epochs": lambda s: s.config.train.epochs,
    "--train.num_episodes": lambda s: 1,
    "--train.seed": lambda s: s.config.seed,
    "--actor.adam.lr": lambda s: s.config.train.learning_rate,
    "--actor.loss_agg_mode": lambda s: s.config.train.loss_aggregation,
    "--actor.gradient_checkpointing_enable": lambda s: s.config.memory.gradient_checkpointing,
    # its other way spends half of a forward pass in Python
    "--actor.gradient_checkpointing_reentrant": lambda s: _cuda(s),
    "--algo.advantage.estimator": lambda s: s.config.train.estimator,
    "--algo.advantage.is_correction_level": lambda s: "token",  # also yields vllm_kl, which proves the weight sync
    "--algo.kl.init_coef": lambda s: s.config.train.kl_coefficient,
    "--reward.normalize_enable": lambda s: s.config.train.normalize_reward,
    "--actor.num_nodes": lambda s: s.config.cluster.nodes,
    "--actor.num_gpus_per_node": lambda s: s.config.cluster.gpus_per_node,
    "--ref.num_nodes": lambda s: s.config.cluster.reference_nodes or s.config.cluster.nodes,
    "--ref.num_gpus_per_node": lambda s: s.config.cluster.reference_gpus_per_node or s.config.cluster.gpus_per_node,
    "--ref.offload": lambda s: _cuda(s) and s.config.memory.reference_offload,
    "--vllm.num_engines": lambda s: s.config.cluster.rollout_engines,
    "--vllm.tensor_parallel_size": lambda s: s.config.cluster.tensor_parallel,
    "--vllm.gpu_memory_utilization": lambda s: s.config.memory.vllm_share if _cuda(s) else 0.1,
    "--vllm.sync_backend": lambda s: "nccl" if _cuda(s) else "gloo",
    "--vllm.enforce_eager": lambda s: s.config.memory.vllm_eager or not _cuda(s),
    "--vllm.enable_prefix_caching": lambda s: s.config.memory.vllm_prefix_caching,
    "--vllm.enable_sleep": lambda s: _cuda(s) and s.config.memory.vllm_sleep,
    "--train.colocate_all": lambda s: _cuda(s) and s.config.memory.colocate_all,
    "--ds.enable_sleep": lambda s: _cuda(s) and s.config.memory.deepspeed_sleep and not s.config.memory.adam_stream,
    "--ds.adam_offload": lambda s: _cuda(s) and s.config.memory.adam_offload,
    "--ds.zero_stage": lambda s: s.config.memory.zero_stage,
    "--ds.param_dtype": lambda s: "bf16",
    "--ds.attn_implementation": lambda s: s.config.memory.attention,
    "--eval.dataset": lambda s: _local(s, "eval.jsonl") if s.config.eval.steps else None,
    "--eval.steps": lambda s: s.config.eval.steps or None,
    "--eval.temperature": lambda s: s.config.eval.temperature if s.config.eval.steps else None,
    "--eval.n_samples_per_prompt": lambda s: 1 if s.config.eval.steps else None,
    "--ckpt.output_dir": lambda s: s.rundir.model,
    "--ckpt.path": lambda s: s.rundir.checkpoints,
    "--ckpt.save_steps": lambda s: s.config.checkpoint.steps or -1,
    "--ckpt.max_num": lambda s: max(2, s.config.checkpoint.keep),  # OpenRLHF deletes the old before it saves the new
    "--ckpt.save_hf": lambda s: s.config.checkpoint.huggingface or s.config.train.frozen_share > 0,
    "--ckpt.best_metric_key": lambda s: "none",  # a "best" checkpoint would become the one that a resume loads
    "--ckpt.load_enable": lambda s: s.attempt > 1,
    "--logger.tensorboard_dir": lambda s: s.rundir.tensorboard if s.config.logging.tensorboard else None,
    "--logger.wandb.key": lambda s: wandb.NO_KEY if s.config.logging.wandb.enabled else None,
    "--logger.wandb.project": lambda s: _wandb(s, s.config.logging.wandb.project),
    "--logger.wandb.org": lambda s: _wandb(s, s.config.logging.wandb.entity),
    "--logger.wandb.group": lambda s: _wandb(s, s.config.logging.wandb.group),
    "--logger.wandb.run_name": lambda s: _wandb(s, s.rundir.id),
}


def start_model(start: Start) -> str | Path:
    """What the games start with: the policy, or what the warm start makes of it."""
    return start.rundir.warm_start if start.config.warm_start.steps else start.config.policy


def _has_frozen(config: RunConfig) -> bool:
    return config.custom_configs.no_defender_turn or config.train.frozen_share > 0


def warm_start(start: Start, engine: Engine) -> list[str]:
    """The words that stand before the trainer's command; none without a warm start."""
    config, warm = start.config, start.config.warm_start
    if not warm.steps:
        return []
    options = {
        "--model": config.policy, "--rows": start.rundir.data / prepare.WARM_START, "--out": start.rundir.warm_start,
        "--batch-size": warm.batch_size, "--micro-batch-size": warm.micro_batch_size, "--max-len": config.rollout.max_len,
        "--zero-stage": config.memory.zero_stage, "--seed": config.seed, "--gpus": config.training_gpus,
        "--learning-rate": warm.learning_rate, "--attention": config.memory.attention,
    }  # fmt: skip
    words = [
        str(engine.python),
        "-m",
        "medical_team.warm_start",
        *(str(word) for pair in options.items() for word in pair),
    ]
    words += ["--gradient-checkpointing"] * config.memory.gradient_checkpointing
    return [*words, *["--no-cot"] * config.custom_configs.direct_chat_no_cot, "--"]


def build(start: Start, engine: Engine) -> Command:
    """The command of one start, in this engine; on a cluster in the one that it has there."""
    python = start.config.cluster.ray_python if _on_cluster(start) else str(engine.python)
    argv = [*warm_start(start, engine), python, "-m", TRAINER]
    for flag, value in ((flag, of(start)) for flag, of in FLAGS.items()):
        if value is True:
            argv.append(flag)
        elif value is not None and value is not False:
            argv += [flag, str(value)]
    told = agent_settings(start).to_environment(start.config.custom_configs)
    if _on_cluster(start):
        return _submitted(start, engine, argv, told)
    env = environment(engine.device, engine.versions) | _places(start) | told
    return Command(tuple(argv), env, UNSET[engine.device])


def _submitted(start: Start, engine: Engine, argv: list[str], told: dict[str, str]) -> Command:
    """The command that makes the trainer's a job of the cluster. What is said of the run marks this process too."""
    config = start.config
    has_flash = ("flash-attn",) if config.memory.attention == "flash_attention_2" else ()
    of_job = environment(config.device, has_flash, root=Path()) | _shared_places(start) | told | MERGED
    client = (
        str(engine.python), "-m", "launcher.ray_job", "--address", config.cluster.ray_address,
        "--submission-id", f"{start.rundir.id}-{start.attempt}", "--project", str(PROJECT),
        "--runtime-env-json", json.dumps({"env_vars": of_job}), "--", *argv,
    )  # fmt: skip
    return Command(client, told | {"PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}, OTHER_CLUSTERS)


def agent_settings(start: Start) -> AgentSettings:
    """What the agent, or the reward function, is told of this start."""
    config = start.config
    calls_per_step = config.rollout.batch_size if _self_play(start) else config.samples_per_step
    return AgentSettings(
        run=start.rundir.id,
        games=start.rundir.games,
        attempt=start.attempt,
        start_step=start.step,
        prompts_per_step=calls_per_step // config.cluster.rollout_engines,
        style=config.prompt_style,
        baseline_decay=config.train.baseline_decay,
        role_baseline=config.train.role_baseline,
        judge=config.judge,
        frozen_model=str(start_model(start)) if _has_frozen(config) else None,
        frozen_share=config.train.frozen_share,
        checkpoints=start.rundir.checkpoints if config.train.frozen_share else None,
        seed=config.seed,
    )


def _models(config: RunConfig) -> tuple[str, ...]:
    """What the job loads: the policy, and a judge that runs inside it."""
    return (config.policy, config.judge.model) if config.judge.kind == LOCAL else (config.policy,)


def _places(start: Start) -> dict[str, str]:
    env = {"RAY_TMPDIR": str(start.rundir.scratch), "TMPDIR": str(start.rundir.scratch)} | _shared_places(start)
    if not _cuda(start):  # Ray counts a GPU for each role that asks for one; on a CPU they exist on paper only
        roles = 1 + (start.config.train.kl_coefficient > 0) + start.config.cluster.rollout_engines
        env["RAY_OVERRIDE_RESOURCES"] = json.dumps({"GPU": roles, "CPU": roles})
    return env


def _shared_places(start: Start) -> dict[str, str]:
    """What is the same on every machine of a job."""
    env = {}
    if start.config.logging.wandb.enabled:
        env["WANDB_DIR"] = str(start.rundir.path)
    if all(Path(model).is_dir() for model in _models(start.config)):
        env["HF_HUB_OFFLINE"] = "1"
    if _cuda(start) and start.config.memory.cpu_threads:  # Ray would set one thread where nobody else has set any
        env |= {"OMP_NUM_THREADS": str(start.config.memory.cpu_threads), "OMP_WAIT_POLICY": "PASSIVE"}
    if _cuda(start) and start.config.memory.adam_stream:
        env["SECOND_OPINION_ADAM_STREAM"] = "1"
    return env
