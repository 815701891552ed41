"""RunConfig: everything that a run is started with. The form, the presets and `--set` all fill in this one model.

A field's docstring is its help in the form.
"""

import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medical_team.config import GameConfig
from medical_team.judge.settings import JudgeSettings
from medical_team.prompts import Style

PRESETS = Path(__file__).parent / "presets"
DEMO_MODEL = "demo"
"""As `policy`: the small model that `launcher setup` builds."""


class Mode(StrEnum):
    SELF_PLAY = "self_play"
    ASSESSOR_ONLY = "assessor_only"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Data(Section):
    """The notes that the games start from."""

    source: Literal["demo", "medec"] = "demo"
    """demo: notes written out from tables of facts. medec: a file in MEDEC's format, CSV or JSONL."""
    path: Path | None = None
    """MEDEC file. Needed for the source medec."""
    cases: int = Field(default=2000, ge=8, le=1_000_000)
    """Cases to write for the source demo."""
    eval_cases: int = Field(default=50, ge=1)
    """Cases kept for evaluation; each gives two notes, and none of them is trained on."""


class Train(Section):
    """The optimizer and its batches."""

    steps: int = Field(default=60, ge=1)
    """Training steps. Each plays `rollout.batch_size` prompts and updates the policy on their games."""
    batch_size: int = Field(default=64, ge=1)
    """Samples per optimizer update, over all GPUs. Must divide the samples of a step."""
    micro_batch_size: int = Field(default=32, ge=1)
    """Samples that one GPU trains on at once."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the samples of a step."""
    learning_rate: float = Field(default=5e-4, gt=0, lt=1)
    """Peak of the actor's learning rate; a cosine takes it to a tenth over the run."""
    estimator: Literal["reinforce", "reinforce_baseline", "rloo", "group_norm", "dr_grpo"] = "reinforce"
    """How OpenRLHF turns rewards into advantages. Self-play needs `reinforce`: the others compare the two players."""
    loss_aggregation: Literal["seq-mean-token-mean", "token-mean"] = "seq-mean-token-mean"
    """seq-mean-token-mean gives every reply the same weight, however long it is."""
    kl_coefficient: float = Field(default=0.0, ge=0)
    """Weight of the KL penalty against the start model. 0 runs without a reference model."""
    normalize_reward: bool = False
    """OpenRLHF's reward normalisation. It acts only on the output of a reward model, so it changes nothing here."""
    baseline_decay: float = Field(default=0.95, ge=0, lt=1)
    """Decay of the exponential mean that is taken from each role's rewards."""
    role_baseline: bool = True
    """Take from each reward what its role usually earns in its category, before OpenRLHF centres the whole batch."""
    frozen_share: float = Field(default=0.0, ge=0, le=0.5)
    """Share of the adversarial prompts that are played against a frozen opponent, in turn the start model and the newest
    checkpoint: two games, in each of which one player is trained. Each opponent is held in the rollout process besides the
    policy; checkpoints are then kept in the Hugging Face format too. Charts count their trained seats."""


class WarmStart(Section):
    """Supervised training on demonstrations before the first game, so that a raw model learns the format."""

    steps: int = Field(default=0, ge=0)
    """Steps of it. 0 skips it, as for a chat model that keeps to the format already."""
    batch_size: int = Field(default=32, ge=1)
    """Demonstrations per step, over all GPUs."""
    micro_batch_size: int = Field(default=8, ge=1)
    """Demonstrations that one GPU trains on at once."""
    learning_rate: float = Field(default=1e-5, gt=0, lt=1)
    """Peak of its learning rate."""


class Rollout(Section):
    """Sampling of the games."""

    batch_size: int = Field(default=32, ge=1)
    """Prompts per step. In self-play a prompt is one game and gives two samples."""
    micro_batch_size: int = Field(default=32, ge=1)
    """Samples that one GPU scores at once after the games."""
    samples_per_prompt: int = Field(default=1, ge=1)
    """Replies per prompt in the mode assessor_only. Self-play sets its own number."""
    max_len: int = Field(default=240, ge=32)
    """Most tokens of prompt and reply together."""
    max_new_tokens: int = Field(default=120, ge=1)
    """Most tokens of a reply."""
    temperature: float = Field(default=1.0, gt=0, le=5)
    """Sampling temperature. 1 samples from the policy as it is."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Share of the probability mass that is sampled from."""


class Eval(Section):
    """Evaluation on notes with known labels, during training."""

    steps: int = Field(default=20, ge=0)
    """Evaluate after every so many steps. 0 never evaluates."""
    temperature: float = Field(default=0.0, ge=0, le=5)
    """0 is greedy."""


class Checkpoint(Section):
    """What is kept of the policy."""

    steps: int = Field(default=20, ge=0)
    """Save after every so many steps, so that a run can be resumed. 0 saves only the final model."""
    keep: int = Field(default=3, ge=1)
    """Checkpoints to keep; older ones are deleted. At least two are there, for one may be broken off while it is saved."""
    huggingface: bool = False
    """Also save each checkpoint in the Hugging Face format."""


class Memory(Section):
    """What stays in GPU memory, and when. On a CPU only zero_stage, gradient_checkpointing and attention count."""

    colocate_all: bool = True
    """Put policy, reference and rollout engine on the same GPU."""
    vllm_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the GPU's memory that vLLM takes."""
    vllm_sleep: bool = True
    """Let vLLM give its memory back while the policy trains."""
    vllm_eager: bool = False
    """Run vLLM without CUDA graphs: less memory, slower."""
    vllm_prefix_caching: bool = False
    """Keep the prompts' shared beginnings between games."""
    deepspeed_sleep: bool = True
    """Move the policy's training state to the CPU while games are played."""
    adam_offload: bool = False
    """Keep Adam's moments and do its arithmetic on the CPU: much less GPU memory, slower steps."""
    adam_stream: bool = False
    """Keep Adam's state in the machine's memory and bring it to the GPU part by part for each update: much less GPU memory,
    and faster than adam_offload. For ZeRO stages 1 and 2."""
    cpu_threads: int = Field(default=0, ge=0)
    """Threads of each process for arithmetic on the CPU, which is where adam_offload does its own. 0 takes all cores but
    two with adam_offload, and else leaves it to Ray, which gives one."""
    reference_offload: bool = False
    """Keep the reference model on the CPU and fetch it layer by layer. Only ZeRO stage 3 can do that."""
    zero_stage: Literal[0, 1, 2, 3] = 2
    """DeepSpeed's ZeRO stage: what several GPUs share of the policy. 1 the optimizer's state, 2 gradients too, 3 weights
    too. On one GPU stage 3 only costs time."""
    gradient_checkpointing: bool = True
    """Compute activations twice instead of keeping them."""
    attention: Literal["flash_attention_2", "sdpa", "eager"] = "sdpa"
    """Attention of the policy in training. flash_attention_2 needs the package flash-attn."""


class Cluster(Section):
    """GPUs per part of the job. With colocation the counts of policy and rollout engines must agree."""

    ray_address: str | None = None
    """Web address of the head of an existing Ray cluster, such as http://head:8265: the run becomes a job there. Without
    one the run starts a Ray of its own on this machine."""
    ray_python: str = Field(default="python", min_length=1, pattern=r"^[^\x00-\x1f]*$")
    """The engine's Python on the machines of that cluster."""
    nodes: int = Field(default=1, ge=1)
    """Machines that train the policy."""
    gpus_per_node: int = Field(default=1, ge=1)
    """GPUs on each of them."""
    reference_nodes: int = Field(default=0, ge=0)
    """Machines of the reference model. 0 takes as many as the policy has, and colocation needs that."""
    reference_gpus_per_node: int = Field(default=0, ge=0)
    """GPUs on each of them. 0 takes as many as the policy has."""
    rollout_engines: int = Field(default=1, ge=1)
    """vLLM engines that play games at the same time."""
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs per vLLM engine."""

    @field_validator("ray_address")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value and not re.fullmatch(r"https?://[^\s/@]+/?", value):
            raise ValueError("this is no web address without a password in it: give http://host:port")
        return value.rstrip("/") if value else None


class Wandb(Section):
    """Weights & Biases. The key is no setting: it comes from the environment variable WANDB_API_KEY alone."""

    enabled: bool = False
    """Send metrics, settings and a sampled text of each step to Weights & Biases."""
    project: str = Field(default="second-opinion", min_length=1)
    """Project that the run is put into."""
    entity: str | None = Field(default=None, min_length=1)
    """Team or user that the project belongs to; without one, the key's own."""
    group: str | None = Field(default=None, min_length=1)
    """Group of runs that belong together."""


class Logging(Section):
    """Where OpenRLHF itself writes its curves besides this dashboard."""

    tensorboard: bool = False
    """Write TensorBoard files into the run's folder."""
    wandb: Wandb = Wandb()


class RunConfig(Section):
    """One run. Written to runs/<id>/config.json before anything starts."""

    name: str = Field(default="", max_length=200)
    """What the run is called in lists."""
    preset: str | None = None
    """The preset that it was made from."""
    mode: Mode = Mode.SELF_PLAY
    """self_play: attacker and assessor. assessor_only: the assessor alone on the data set's notes, single turn."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What the engine runs on."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Seed of the data and of the engine."""
    policy: str = Field(default=DEMO_MODEL, min_length=1)
    """Model that both seats share: a hub name or a local folder, or `demo` for the built-in demo model."""
    prompt_style: Style = "short"
    """full: instructions for a general chat model. short: the one-line prompts that the demo model was taught."""
    if_supervisor_dies: Literal["adopt", "end"] = "adopt"
    """What becomes of the run when the process that watches over it is killed. adopt: another takes it over, and no step is
    lost. end: it is stopped, and can be resumed."""
    custom_configs: GameConfig = GameConfig()
    """The rules of the game: the guide's CUSTOM_CONFIGS."""
    judge: JudgeSettings = JudgeSettings()
    """Who says what is true of an attacker's note."""
    data: Data = Data()
    warm_start: WarmStart = WarmStart()
    train: Train = Train()
    rollout: Rollout = Rollout()
    eval: Eval = Eval()
    checkpoint: Checkpoint = Checkpoint()
    memory: Memory = Memory()
    cluster: Cluster = Cluster()
    logging: Logging = Logging()

    @property
    def samples_per_prompt(self) -> int:
        """Trajectories that the trainer gets for one prompt."""
        if self.mode is Mode.ASSESSOR_ONLY:
            return self.rollout.samples_per_prompt
        return 1 if self.custom_configs.no_defender_turn else 2

    @property
    def samples_per_step(self) -> int:
        return self.rollout.batch_size * self.samples_per_prompt

    @property
    def training_gpus(self) -> int:
        return self.cluster.nodes * self.cluster.gpus_per_node

    @property
    def reference_gpus(self) -> int:
        cluster = self.cluster
        return (cluster.reference_nodes or cluster.nodes) * (cluster.reference_gpus_per_node or cluster.gpus_per_node)

    @model_validator(mode="after")
    def _consistent(self):
        problems = [problem for check in _CHECKS for problem in check(self)]
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _sizes_divide(config: RunConfig):
    step, train, rollout, gpus = config.samples_per_step, config.train, config.rollout, config.training_gpus
    engines = config.cluster.rollout_engines
    if step % train.batch_size:
        yield f"train.batch_size {train.batch_size} must divide the {step} samples of a step"
    if train.batch_size % (train.micro_batch_size * gpus):
        micro = f"train.micro_batch_size {train.micro_batch_size} times {gpus} GPUs"
        yield f"{micro} must divide train.batch_size {train.batch_size}"
    if step % (rollout.micro_batch_size * gpus):
        micro = f"rollout.micro_batch_size {rollout.micro_batch_size} times {gpus} GPUs"
        yield f"{micro} must divide the {step} samples of a step"
    if rollout.batch_size % engines:
        yield f"cluster.rollout_engines {engines} must divide rollout.batch_size {rollout.batch_size}"
    if rollout.max_new_tokens >= rollout.max_len:
        yield f"rollout.max_new_tokens {rollout.max_new_tokens} must be below rollout.max_len {rollout.max_len}"


def _estimator_fits(config: RunConfig):
    estimator = config.train.estimator
    if estimator == "reinforce":
        return
    if config.mode is Mode.SELF_PLAY:
        yield f"train.estimator {estimator} subtracts the other player's reward in self-play: use reinforce"
    elif config.rollout.samples_per_prompt < 2:
        yield f"train.estimator {estimator} compares replies to one prompt: set rollout.samples_per_prompt to 2 or more"


def _mode_fits(config: RunConfig):
    if config.mode is Mode.ASSESSOR_ONLY and config.custom_configs.no_defender_turn:
        yield "custom_configs.no_defender_turn leaves nobody to train in the mode assessor_only"
    if config.train.frozen_share and (config.mode is Mode.ASSESSOR_ONLY or config.custom_configs.no_attacker_turn):
        yield "train.frozen_share needs games with an attacker: set it to 0, or let the attacker play"
    if config.train.frozen_share and config.custom_configs.no_defender_turn:
        yield "train.frozen_share must be 0 with custom_configs.no_defender_turn: every game has a frozen opponent then"
    if config.mode is Mode.ASSESSOR_ONLY and config.cluster.rollout_engines > 1:
        yield "the mode assessor_only runs with cluster.rollout_engines 1"


def _data_given(config: RunConfig):
    if config.data.source == "medec" and config.data.path is None:
        yield "data.path is needed for data.source medec: the path of a MEDEC file (CSV or JSONL)"
    if config.data.source == "demo" and config.data.eval_cases >= config.data.cases:
        yield f"data.eval_cases {config.data.eval_cases} must be below data.cases {config.data.cases}"


def _device_fits(config: RunConfig):
    gpus, engines = config.training_gpus, config.cluster.rollout_engines * config.cluster.tensor_parallel
    if config.device == "cpu" and (gpus, config.reference_gpus, config.cluster.tensor_parallel) != (1, 1, 1):
        yield "on a CPU the cluster settings must all be 1"
    if config.device == "cpu" and config.cluster.rollout_engines > 1 and not config.cluster.ray_address:
        yield "cluster.rollout_engines must be 1 on a CPU without cluster.ray_address"
    if config.device == "cuda" and config.memory.colocate_all and gpus != engines:
        yield (
            f"with memory.colocate_all the {gpus} GPUs that train must equal "
            f"cluster.rollout_engines times cluster.tensor_parallel, {engines}"
        )
    roles = (config.cluster.reference_nodes, config.cluster.reference_gpus_per_node)
    policy = (config.cluster.nodes, config.cluster.gpus_per_node)
    colocated = config.device == "cuda" and config.memory.colocate_all
    if colocated and any(own and own != shared for own, shared in zip(roles, policy, strict=True)):
        yield "cluster.reference_nodes and cluster.reference_gpus_per_node must be 0 with memory.colocate_all"


def _warm_start_divides(config: RunConfig):
    warm, gpus = config.warm_start, config.training_gpus
    if warm.steps and warm.batch_size % (warm.micro_batch_size * gpus):
        micro = f"warm_start.micro_batch_size {warm.micro_batch_size} times {gpus} GPUs"
        yield f"{micro} must divide warm_start.batch_size {warm.batch_size}"
    if warm.steps and (config.cluster.nodes > 1 or config.cluster.ray_address):
        yield "warm_start.steps must be 0 on several machines and on a cluster: the warm start runs on this one"


def _offload_works(config: RunConfig):
    if config.memory.reference_offload and config.memory.zero_stage != 3:
        yield "memory.reference_offload moves nothing unless memory.zero_stage is 3"
    if config.memory.adam_stream and config.memory.zero_stage not in (1, 2):
        yield "memory.adam_stream needs memory.zero_stage 1 or 2"
    if config.memory.adam_stream and config.memory.adam_offload:
        yield "memory.adam_stream takes the place of memory.adam_offload: choose one"


_CHECKS = (_sizes_divide, _estimator_fits, _mode_fits, _data_given, _device_fits, _warm_start_divides, _offload_works)


class SettingError(ValueError):
    """A preset or setting that cannot be read. The message says what to do."""


def presets() -> list[str]:
    """Names of the presets that come with the project."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def resolve(preset: str, settings: Mapping[str, Any] | None = None) -> RunConfig:
    """The preset with `settings`, dotted keys to values, laid over it.

    Errors: SettingError for an unknown preset or key; pydantic's ValidationError for a value that does not fit.
    """
    if preset not in presets():
        raise SettingError(f"unknown preset {preset!r}; there are: {', '.join(presets())}")
    values = tomllib.loads((PRESETS / f"{preset}.toml").read_text(encoding="utf-8"))
    values["preset"] = preset
    for key, value in (settings or {}).items():
        _put(values, key, value)
    return RunConfig.model_validate(values)


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    model: type[BaseModel] = RunConfig
    for section in sections:
        field = model.model_fields.get(section)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            raise SettingError(f"unknown setting {key!r}: there is no section {section!r}")
        model, values = field.annotation, values.setdefault(section, {})
        if not isinstance(values, dict):
            raise SettingError(f"{section!r} is given a value of its own, so {key!r} cannot be laid over it; leave one")
    if name not in model.model_fields:
        raise SettingError(
            f"unknown setting {key!r}; {'.'.join(sections) or 'a run'} has: {', '.join(model.model_fields)}"
        )
    values[name] = value
