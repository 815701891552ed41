"""What would make a run fit into its GPU: settings in the order of what they cost. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pydantic import ValidationError

from launcher.config import RunConfig
from launcher.memory import Plan, Workload, plan


class Change(NamedTuple):
    """A setting that needs less memory. `value` None means that there is nothing to lower any more."""

    setting: str
    lower: Callable[[Workload, Plan], Any]
    cost: str


class Step(NamedTuple):
    """A piece of advice. `peak` is the run's with this and all steps before it; bytes."""

    setting: str
    value: Any
    cost: str
    peak: int


@dataclass(frozen=True)
class Advice:
    steps: tuple[Step, ...]
    fits: bool
    """With all steps. False means that no setting known here is enough: take a smaller policy, or more GPUs."""


def _share_to(wanted: str) -> Callable[[Workload, Plan], float | None]:
    """Down to it, or up to it where vLLM would not even start."""

    def lower(work: Workload, now: Plan) -> float | None:
        share = getattr(now, wanted)
        return share if now.share > share or now.share < now.share_needed else None

    return lower


def _to(value: Any, setting: str) -> Callable[[Workload, Plan], Any]:
    return lambda work, now: None if _value(work, setting) == value else value


def _spread(work: Workload, now: Plan) -> int | None:
    """Weights over all GPUs; on one there is nothing to spread."""
    return 3 if work.config.training_gpus > 1 and work.config.memory.zero_stage < 3 else None


def _half(setting: str) -> Callable[[Workload, Plan], Any]:
    return lambda work, now: _value(work, setting) // 2 or None


def _value(work: Workload, setting: str) -> Any:
    section, name = setting.split(".")
    return getattr(getattr(work.config, section), name)


def _switch(setting: str, value: Any, cost: str) -> Change:
    return Change(setting, _to(value, setting), cost)


CHANGES = (
    Change("memory.vllm_share", _share_to("smallest_share"), "nothing: the cache still holds every game of a step"),
    _switch("memory.vllm_sleep", True, "part of a second a step"),
    _switch("memory.deepspeed_sleep", True, "seconds a step, and as much of the machine's own memory"),
    Change("rollout.micro_batch_size", _half("rollout.micro_batch_size"), "slower scoring"),
    Change("train.micro_batch_size", _half("train.micro_batch_size"), "slower training, with the same result"),
    _switch("memory.gradient_checkpointing", True, "a third more computing in training"),
    Change("memory.vllm_share", _share_to("share_needed"), "games wait for each other"),
    _switch("memory.adam_stream", True, "a second or two for every update, and as much of the machine's own memory"),
    Change(
        "memory.zero_stage", _spread, "a step takes two to three times as long: weights are fetched module by module"
    ),
    _switch("memory.reference_offload", True, "the reference model crosses the bus for every batch"),
    _switch("memory.adam_offload", True, "updates on the CPU: a step takes two to four times as long"),
)
"""Cheapest first."""

Taken = dict[str, list[tuple[Any, str]]]
"""Setting -> the values that it was lowered to, each with its cost."""


def advise(work: Workload) -> Advice:
    """Steps that together make the run fit, none of which could be left out. Empty if it fits as it is."""
    taken: Taken = {}
    lowered = work
    for setting, value, cost, lowered in _cheapest(work):  # noqa: B007
        taken.setdefault(setting, []).append((value, cost))
    fits = plan(lowered).fits
    return Advice(tuple(_steps(work, _needed(work, taken) if fits else _last(taken))), fits)


def _cheapest(work: Workload) -> Iterator[tuple[str, Any, str, Workload]]:
    """One change after the other, each as often as it lowers something, until the run fits."""
    for change in CHANGES:
        while not (now := plan(work)).fits:
            value = change.lower(work, now)
            after = None if value is None else changed(work, {change.setting: value})
            if after is None or not _helps(now, plan(after)) or _overflows(work, now, plan(after)):
                break
            work = after
            yield change.setting, value, change.cost, work


def _helps(before: Plan, after: Plan) -> bool:
    """It lowers some phase, after which another change may lower the peak; or it lets vLLM start."""
    starts = before.share < before.share_needed <= after.share
    return starts or sum(one.size for one in after.held) < sum(one.size for one in before.held)


def _overflows(work: Workload, before: Plan, after: Plan) -> bool:
    """It moves to the machine's own memory what finds no room there."""
    return work.main is not None and after.host > max(work.main, before.host)


def _last(taken: Taken) -> dict[str, tuple[Any, str]]:
    return {setting: values[-1] for setting, values in taken.items()}


def _needed(work: Workload, taken: Taken) -> dict[str, tuple[Any, str]]:
    """Of each setting, the dearest first, the mildest value with which the run still fits, or none at all.

    Once one is milder another may be left out that was needed before, so this goes round until nothing changes.
    """
    before, chosen = None, _last(taken)
    while chosen != before:
        before = chosen
        for setting in [name for name in reversed(list(taken)) if name in chosen]:
            others = {name: value for name, value in chosen.items() if name != setting}
            upto = taken[setting][: taken[setting].index(chosen[setting]) + 1]
            milder = [others, *({**chosen, setting: value} for value in upto)]
            chosen = next(tried for tried in milder if _fits(work, tried))
    return chosen


def _fits(work: Workload, chosen: dict[str, tuple[Any, str]]) -> bool:
    after = changed(work, {setting: value for setting, (value, _) in chosen.items()})
    return after is not None and plan(after).fits


def _steps(work: Workload, chosen: dict[str, tuple[Any, str]]) -> Iterator[Step]:
    sofar: dict[str, Any] = {}
    for setting, (value, cost) in chosen.items():
        sofar[setting] = value
        yield Step(setting, value, cost, plan(changed(work, sofar) or work).peak)


def changed(work: Workload, settings: dict[str, Any]) -> Workload | None:
    """The same with other settings; None if they do not go together."""
    values = work.config.model_dump()
    for setting, value in settings.items():
        section, name = setting.split(".")
        values[section][name] = value
    try:
        return replace(work, config=RunConfig.model_validate(values))
    except ValidationError:
        return None
