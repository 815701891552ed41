"""What a run will hold on each GPU: pure arithmetic over its settings and the shapes of its models.

A GPU's memory is shared by up to four parts, of which some sleep while others work: the bars of a phase are what is held
at once at the worst moment of that phase. `launcher.memory_advice` says what would make a run fit.
"""

from dataclasses import dataclass

from launcher.config import RunConfig
from launcher.memory_parts import (
    ASLEEP_HOST,
    BF16,
    GIB,
    GROUP,
    KEPT,
    OFFLOADED_HOST,
    STREAMED_HOST,
    TOGETHER,
    VLLM_WORK,
    Held,
    Judge,
    Part,
    Phase,
    Workload,
    held,
    judge_of,
)

__all__ = ["GIB", "GROUP", "TOGETHER", "Held", "Judge", "Part", "Phase", "Plan", "Workload", "judge_of", "plan"]


@dataclass(frozen=True)
class Plan:
    limit: int
    """Memory of one GPU."""
    held: tuple[Held, ...]
    colocated: bool
    smallest_share: float
    """Of vLLM, that holds all games of a step at once."""
    share_needed: float
    """Below this one vLLM does not start: it must hold one sequence of the greatest length."""
    share: float
    host: int
    """Of the machine's own memory: the optimizer's state, and the weights of a judge while it sleeps."""
    copies: tuple[int, ...] = (1, 1, 1, 1)
    """GPUs that hold each Part, in their order."""

    def of(self, phase: Phase, part: Part) -> int:
        """What it needs."""
        return sum(one.size for one in self.held if (one.phase, one.part) == (phase, part) and one.what != KEPT)

    def kept(self, phase: Phase, part: Part) -> int:
        """What it holds besides, while nothing else needs it."""
        return sum(one.size for one in self.held if (one.phase, one.part, one.what) == (phase, part, KEPT))

    def total(self, phase: Phase) -> int:
        """On the fullest GPU."""
        if self.colocated:
            return sum(self.of(phase, part) for part in Part) - self._in_turn(phase)
        return max(sum(self.of(phase, part) for part in parts) for parts in TOGETHER)

    def _in_turn(self, phase: Phase) -> int:
        """Policy and reference score the games one after the other."""
        if phase is not Phase.EXPERIENCE:
            return 0
        scoring = {one.part: one.size for one in self.held if (one.phase, one.what) == (phase, "activations")}
        return min(scoring.get(Part.POLICY, 0), scoring.get(Part.REFERENCE, 0))

    @property
    def peak(self) -> int:
        return max(self.total(phase) for phase in Phase)

    def everywhere(self, phase: Phase, *parts: Part) -> int:
        """What the parts will be seen to hold on all GPUs together; without any, all of them."""
        held = sum((self.of(phase, part) + self.kept(phase, part)) * copies
                   for part, copies in zip(Part, self.copies, strict=True) if part in (parts or Part))  # fmt: skip
        if parts or not self.colocated:
            return held
        return min(held - self._in_turn(phase) * max(self.copies), self.limit * max(self.copies))

    @property
    def fits(self) -> bool:
        return self.peak <= self.limit and self.share >= self.share_needed


def plan(work: Workload) -> Plan:
    """The plan of a run on GPUs."""
    config = work.config
    return Plan(
        limit=work.gpu,
        held=tuple(held(work)),
        colocated=config.memory.colocate_all,
        smallest_share=_share(work, _sequences(config) * config.rollout.max_len),
        share_needed=_share(work, config.rollout.max_len),
        share=config.memory.vllm_share,
        host=host_bytes(work),
        copies=_copies(config),
    )


def _copies(config: RunConfig) -> tuple[int, ...]:
    engines = config.cluster.rollout_engines
    return config.training_gpus, config.reference_gpus, engines * config.cluster.tensor_parallel, engines


def host_bytes(work: Workload) -> int:
    judge = work.judge.weights if work.judge and work.judge.sleeps else 0
    return _optimizer_host(work) + judge


def _optimizer_host(work: Workload) -> int:
    memory = work.config.memory
    if memory.adam_offload:
        each = OFFLOADED_HOST
    elif memory.adam_stream:
        each = STREAMED_HOST
    else:
        each = ASLEEP_HOST if memory.deepspeed_sleep else 0
    return each * work.policy.parameters


def _sequences(config: RunConfig) -> int:
    """That one vLLM engine may work on at once."""
    return config.samples_per_step // config.cluster.rollout_engines


def _share(work: Workload, cached_tokens: int) -> float:
    """vLLM's share of the GPU that holds its weights and the keys and values of so many tokens."""
    split = work.config.cluster.tensor_parallel
    needed = (BF16 * work.policy.parameters + work.policy.cache_bytes * cached_tokens) // split + VLLM_WORK
    return round(needed / work.gpu + 0.005, 2)
