"""What each part of a run holds on a GPU, phase by phase: the arithmetic behind `launcher.memory`.

Sizes are bytes; constants say whether they were measured or read in the code of OpenRLHF 0.11.2 and DeepSpeed 0.19.6.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from launcher.config import RunConfig
from launcher.model_shape import Shape, UnknownShape, of_model
from medical_team.judge.settings import LOCAL, JudgeSettings

GIB = 2**30
BF16, FP32 = 2, 4

# Measured on an H100, torch 2.11, vLLM 0.22, with a policy of 3.09 and a judge of 3.88 billion parameters
PROCESS = int(1.68 * GIB)
"""A training process without its tensors: CUDA context, NCCL, cuBLAS."""
JUDGE_PROCESS = int(0.95 * GIB)
"""The same for the process that the judge lives in."""
VLLM_ASLEEP = int(1.7 * GIB)
"""What vLLM keeps while it sleeps: context, CUDA graphs, buffers."""
VLLM_BESIDE = int(1.0 * GIB)
"""What vLLM holds beyond its share: context and CUDA graphs."""
VLLM_WORK = int(1.0 * GIB)
"""What of its share is neither weights nor cache: activations of its largest batch, and the graphs' estimate."""
FRAGMENTS = 0.07
"""Of what PyTorch has allocated in training, what lies unusable between it; of what stays afterwards, what stays with it."""
KEPT = "kept"
"""What PyTorch keeps of memory that is not needed at that moment, and gives back before it runs out. Backward pass and
update take turns, and each keeps its own."""
REFERENCE_STAGE_3 = int(1.2 * GIB)
"""What ZeRO stage 3 holds of the reference model beside its weights."""

# Read in the code
BUCKET = 500_000_000 * BF16
"""DeepSpeed's buffer for gradients on their way."""
GROUP = 250_000_000
"""Parameters that ZeRO stages 1 and 2 update at a time, at least: launcher/shim/cuda_patches.py divides them so."""
SUB_GROUP = 1_000_000_000
"""Parameters that ZeRO stage 3 updates at a time, at least: tensors are not divided."""
LIVE = 1_000_000_000
"""Parameters that ZeRO stage 3 keeps gathered, where they are spread over several GPUs."""
ADAM = 3 * FP32
"""Master weights and two moments, per parameter."""
LOGITS_TRAINED = LOGITS_SCORED = 14
"""Bytes per token and word of the vocabulary: fp32 logits, their gradients from two sides, and their bf16 ends. Without
gradients as much was measured, copies of the fp32 logits for the temperature and the softmax."""
OFFLOADED_HOST, ASLEEP_HOST, STREAMED_HOST = 20, 14, 14
"""The machine's own memory per parameter: with Adam on the CPU its state, gradients in fp32 and bf16 and the new weights;
for a sleeping optimizer its state and the gradients; for a streamed one its state, and what pinning rounds up."""


class Part(StrEnum):
    """rollout: vLLM. judge: the rollout actor itself, above vLLM: a local judge, and frozen opponents with it."""

    POLICY = "policy"
    REFERENCE = "reference"
    ROLLOUT = "rollout"
    JUDGE = "judge"


TOGETHER = ((Part.POLICY,), (Part.REFERENCE,), (Part.ROLLOUT, Part.JUDGE))
"""Parts that share their GPUs even where policy, reference and rollout have some of their own."""


class Phase(StrEnum):
    """rollout: games. experience: their tokens are scored. training: updates. sync: the new weights go to vLLM."""

    ROLLOUT = "rollout"
    EXPERIENCE = "experience"
    TRAINING = "training"
    SYNC = "sync"


class Held(NamedTuple):
    """What one part holds for one purpose, at the worst moment of a phase."""

    phase: Phase
    part: Part
    what: str
    size: int


@dataclass(frozen=True)
class Judge:
    """A judge's model in the rollout actor's process."""

    parameters: int
    bits: int = 16
    """Of a weight."""
    sleeps: bool = False
    """On the CPU while no games are played."""
    reading: int = 0
    """What a full batch of questions needs while it is read."""

    @property
    def weights(self) -> int:
        return self.parameters * self.bits // 8


BITS = {"bf16": 16, "8bit": 8, "4bit": 4, "fp32": 32}
"""Of a weight, by the judge's precision."""


def judge_of(settings: JudgeSettings) -> Judge | None:
    """The judge that shares the GPU with vLLM, if there is one and its shape is known."""
    if settings.kind != LOCAL or settings.device == "cpu":
        return None
    try:
        shape = of_model(settings.model)
    except UnknownShape:
        return None
    reading = settings.batch_tokens * (shape.cache_bytes + shape.layer_bytes)
    return Judge(shape.parameters, BITS[settings.precision], bool(settings.sleep_after_s), reading)


@dataclass(frozen=True)
class Workload:
    """What a plan is made of."""

    config: RunConfig
    policy: Shape
    gpu: int
    """Memory of one GPU."""
    judge: Judge | None = None
    longest: int | None = None
    """Tokens of the longest sequence, prompt and reply, where less than the settings allow is known."""
    group: int = GROUP
    main: int | None = None
    """The machine's own memory that is free; None where it is not known."""

    @property
    def tokens(self) -> int:
        return min(self.longest or self.config.rollout.max_len, self.config.rollout.max_len)


def held(work: Workload) -> Iterator[Held]:
    """All that is held, part by part."""
    for part in (_policy, _reference, _rollout, _judge):
        yield from (Held(*one) for one in part(work) if one[-1])


_Held = tuple[Phase, Part, str, int]


def _policy(work: Workload) -> Iterator[_Held]:
    memory, part = work.config.memory, Part.POLICY
    asleep = memory.deepspeed_sleep and not (memory.adam_offload or memory.adam_stream)
    weights, state, gradients = _kept(work)
    buffers = _buffers(work)
    for phase in Phase:
        yield phase, part, "process", PROCESS
        yield phase, part, "weights", weights
        training = phase is Phase.TRAINING
        if training or not asleep:
            yield phase, part, "optimizer", state
            yield phase, part, "gradients", gradients if training or _flat_gradients(work) else 0
            yield phase, part, "buffers", buffers if training else _lasting_buffers(work)
        if not training and not asleep:
            kept = weights + state + (gradients if _flat_gradients(work) else 0) + _lasting_buffers(work)
            yield phase, part, "fragments", int(FRAGMENTS * kept)
    yield Phase.EXPERIENCE, part, "activations", scored(work)
    update, backward = _update(work), trained(work) + _accumulated(work)
    yield Phase.TRAINING, part, "update" if update > backward else "activations", max(update, backward)
    yield Phase.TRAINING, part, KEPT, min(update, backward)
    allocated = weights + state + gradients + buffers + max(update, backward)
    yield Phase.TRAINING, part, "fragments", int(FRAGMENTS * allocated)
    yield Phase.SYNC, part, "one tensor", BF16 * work.policy.largest


def _kept(work: Workload) -> tuple[int, int, int]:
    """Weights, optimizer's state and gradients, as they lie on each GPU in training."""
    stage, gpus, parameters = work.config.memory.zero_stage, work.config.training_gpus, work.policy.parameters
    weights = BF16 * parameters
    if stage == 3 and gpus > 1:
        weights = weights // gpus + BF16 * min(LIVE, parameters)
    state = ADAM * parameters // (gpus if stage else 1)
    gradients = (BF16 if stage else FP32) * parameters // (gpus if stage > 1 else 1)
    elsewhere = work.config.memory.adam_offload or work.config.memory.adam_stream
    return weights, 0 if elsewhere else state, gradients


def _flat_gradients(work: Workload) -> bool:
    """Stages 0 and 3 keep the buffer of their gradients; stages 1 and 2 make it anew in every backward pass."""
    return work.config.memory.zero_stage in (0, 3)


def _buffers(work: Workload) -> int:
    stages = 1 if work.config.memory.zero_stage in (1, 2) else 0
    return _lasting_buffers(work) + stages * min(BUCKET, BF16 * work.policy.parameters)


def _lasting_buffers(work: Workload) -> int:
    """Stages 1 and 2 let go of their bucket after every backward pass; gradients go to the CPU through a buffer."""
    memory = work.config.memory
    bucket = min(BUCKET, BF16 * work.policy.parameters) if memory.zero_stage == 3 else 0
    return bucket + (BF16 * work.policy.largest if memory.adam_offload else 0)


def _accumulated(work: Workload) -> int:
    """Stages 1 and 2 hold the gradients of a backward pass beside those of the passes before it."""
    memory, train, gpus = work.config.memory, work.config.train, work.config.training_gpus
    once = train.micro_batch_size * gpus == train.batch_size
    if memory.adam_offload or memory.zero_stage not in (1, 2) or once:
        return 0
    return BF16 * work.policy.parameters // (gpus if memory.zero_stage == 2 else 1)


def _update(work: Workload) -> int:
    """What an update of the weights needs for a moment. Stages 1 and 2 make a flat copy of a group's gradients and one in
    fp32, beside which two groups' states stand where they are streamed, one that comes and one that leaves; stage 3 looks
    for infinities in all gradients first."""
    memory, parameters = work.config.memory, work.policy.parameters
    part = parameters // work.config.training_gpus
    if memory.adam_offload or memory.zero_stage == 0:
        return 0
    if memory.zero_stage < 3:
        group = min(part, max(work.group, work.policy.largest) // work.config.training_gpus)
        return (BF16 + FP32 + (2 * ADAM if memory.adam_stream else 0)) * group
    group = min(part, SUB_GROUP // work.config.training_gpus + work.policy.largest)
    return max((BF16 + 1) * part, (BF16 + FP32) * group)


def trained(work: Workload) -> int:
    """Activations of one micro-batch at the worst moment of its backward pass."""
    shape, tokens = work.policy, work.config.train.micro_batch_size * work.tokens
    kept = work.policy.layers * tokens * shape.hidden * BF16
    if not work.config.memory.gradient_checkpointing:
        kept = work.policy.layers * _layer(work, tokens)
    return kept + _layer(work, tokens) + LOGITS_TRAINED * tokens * shape.vocabulary


def scored(work: Workload) -> int:
    """Activations of one micro-batch of the scoring after the games."""
    tokens = work.config.rollout.micro_batch_size * work.tokens
    return _layer(work, tokens) + LOGITS_SCORED * tokens * work.policy.vocabulary


def _layer(work: Workload, tokens: int) -> int:
    """Activations inside one layer."""
    shape = work.policy
    inside = tokens * shape.layer_bytes
    if work.config.memory.attention == "eager":  # scores of all pairs, in bf16 and as fp32 weights
        inside += shape.heads * tokens * work.tokens * (BF16 + FP32)
    return inside


def _reference(work: Workload) -> Iterator[_Held]:
    if not work.config.train.kl_coefficient:
        return
    memory, gpus = work.config.memory, work.config.reference_gpus
    weights = BF16 * work.policy.parameters
    if memory.zero_stage == 3 and (gpus > 1 or memory.reference_offload):
        live = BF16 * min(LIVE, work.policy.parameters)
        weights = live if memory.reference_offload else weights // gpus + live
    for phase in Phase:
        yield phase, Part.REFERENCE, "process", PROCESS
        yield phase, Part.REFERENCE, "weights", weights
        yield phase, Part.REFERENCE, "buffers", REFERENCE_STAGE_3 if memory.zero_stage == 3 else 0
    yield Phase.EXPERIENCE, Part.REFERENCE, "activations", scored(work)


def _rollout(work: Workload) -> Iterator[_Held]:
    memory = work.config.memory
    whole = int(memory.vllm_share * work.gpu) + VLLM_BESIDE
    weights = BF16 * work.policy.parameters // work.config.cluster.tensor_parallel
    for phase in Phase:
        if phase is Phase.ROLLOUT or not memory.vllm_sleep:
            yield phase, Part.ROLLOUT, "share", whole
        else:
            yield phase, Part.ROLLOUT, "asleep", VLLM_ASLEEP
            yield phase, Part.ROLLOUT, "weights", weights if phase is Phase.SYNC else 0


def _opponents(config: RunConfig) -> int:
    """Frozen models in the rollout actor: the start model, and with it a past one where games are shared out."""
    return 2 if config.train.frozen_share else int(config.custom_configs.no_defender_turn)


def _judge(work: Workload) -> Iterator[_Held]:
    opponents = _opponents(work.config) * BF16 * work.policy.parameters
    if work.judge is None and not opponents:
        return
    for phase in Phase:
        yield phase, Part.JUDGE, "process", JUDGE_PROCESS
        yield phase, Part.JUDGE, "opponents", opponents
        if work.judge is None:
            continue
        awake = phase is Phase.ROLLOUT or not work.judge.sleeps
        yield phase, Part.JUDGE, "weights", work.judge.weights if awake else 0
        yield phase, Part.JUDGE, "questions", work.judge.reading if awake else 0
