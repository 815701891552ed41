"""The memory plan as JSON and as text."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import psutil

from launcher import model_shape, preflight, report
from launcher.config import RunConfig
from launcher.memory import GIB, Part, Phase, Plan, Workload, judge_of, plan
from launcher.memory_advice import Advice, advise
from launcher.memory_measured import Compared, compare
from launcher.store import MemoryPoint

AS_SOLD = 0.99
"""Of the GiB that a GPU is sold with, what a run can use: an H100 of 80 GB has 79.2."""


class NoPlan(ValueError):
    """There is nothing to plan, or not enough is known; the message says what to do."""


class Answer(NamedTuple):
    json: dict[str, Any]
    text: str


def answer(config: RunConfig, sold_gb: float | None, points: Sequence[MemoryPoint] = ()) -> Answer:
    """The plan of a run, for a GPU of this size or this machine's first; with samples of a run, these beside it.

    Errors: NoPlan; model_shape.UnknownShape.
    """
    if config.device != "cuda":
        raise NoPlan("the plan is of a GPU's memory, and this run is on a CPU: add --set device=cuda")
    size = gpu_bytes(sold_gb) if sold_gb else preflight.gpu_total()
    if size is None:
        raise NoPlan("no NVIDIA GPU answers here: say how large it will be, such as --gpu-gb 80")
    main = None if sold_gb else psutil.virtual_memory().available
    work = Workload(config, model_shape.of_model(config.policy), size, judge_of(config.judge), main=main)
    made, advice = plan(work), advise(work)
    found = Answer(as_json(made, advice), as_text(made, advice))
    if points:
        compared = compare(made, points)
        text = f"{found.text}\n\n{compared_text(compared)}"
        found = Answer(found.json | {"measured": compared_json(compared)}, text)
    return found


def gpu_bytes(sold_gb: float) -> int:
    return int(sold_gb * AS_SOLD * GIB)


def as_json(plan: Plan, advice: Advice) -> dict[str, Any]:
    """Sizes in bytes."""
    return {
        "fits": plan.fits,
        "limit": plan.limit,
        "peak": plan.peak,
        "host": plan.host,
        "vllm_share": {"set": plan.share, "holds_all_games": plan.smallest_share, "starts": plan.share_needed},
        "phases": {
            phase: {"total": plan.total(phase)} | {part: plan.of(phase, part) for part in Part} for phase in Phase
        },
        "held": [one._asdict() for one in plan.held],
        "advice": {"fits": advice.fits, "steps": [step._asdict() for step in advice.steps]},
    }


def as_text(plan: Plan, advice: Advice) -> str:
    rows = [("GiB", *Part, "total")]
    rows += [(phase, *(_gib(plan.of(phase, part)) for part in Part), _gib(plan.total(phase))) for phase in Phase]
    ends = f"peak {_gib(plan.peak)} of {_gib(plan.limit)} GiB: {'fits' if plan.fits else 'does not fit'}"
    enough = f"{plan.smallest_share:g} holds all games of a step, {plan.share_needed:g} is the least"
    share = f"vLLM's share is {plan.share:g}; {enough}"
    host = [f"and {_gib(plan.host)} GiB of the machine's own memory for what is not on the GPU"] if plan.host else []
    return "\n".join([report.columns(rows), "", ends, *host, share, *_advice(advice)])


def _advice(advice: Advice) -> Iterable[str]:
    if not advice.steps and advice.fits:
        return
    yield "to make it fit, cheapest first:" if advice.fits else "no setting makes it fit; these would lower it most:"
    for step in advice.steps:
        value = str(step.value).lower() if isinstance(step.value, bool) else step.value
        yield f"  {step.setting}={value}  peak {_gib(step.peak)} GiB; costs {step.cost}"
    if not advice.fits:
        yield "take a smaller policy, shorter sequences, or more GPUs"


def compared_json(compared: Iterable[Compared]) -> list[dict[str, Any]]:
    return [one._asdict() | {"off": one.off} for one in compared]


def compared_text(compared: Iterable[Compared]) -> str:
    rows = [("peak GiB", "estimated", "measured", "off")]
    for one in compared:
        off = None if one.off is None else f"{one.off:+.0%}"
        rows.append((one.part or "whole", _gib(one.estimated), _gib(one.measured), off))
    return report.columns(rows)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"
