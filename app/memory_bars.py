"""The memory plan as HTML: a bar for each phase, a table of the same numbers, and settings to click. Pure."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from launcher.markup import Child, Markup, join, table, tag
from launcher.memory import GIB, TOGETHER, Part, Phase, Plan
from launcher.memory_advice import Advice, Step
from launcher.memory_measured import Compared

ROOM = 1.04
"""Of the longest bar, or of the GPU, how wide the drawing is."""


class Bar(NamedTuple):
    name: str
    held: tuple[tuple[Part, int], ...]
    """Bytes on one GPU."""

    @property
    def total(self) -> int:
        return sum(size for _, size in self.held)


def drawn(plan: Plan, advice: Advice) -> Markup:
    """All that is known beforehand of the memory of one GPU."""
    parts = [part for part in Part if any(plan.of(phase, part) for phase in Phase)]
    rows = list(bars(plan, parts))
    legend = (tag("li", tag("i", class_=f"seg {part}"), part) for part in parts)
    return tag(
        "div", verdict(plan), tag("div", *(_bar(row, plan.limit, _width(rows, plan)) for row in rows), class_="mem-bars",
        role="img", aria_label=f"Memory by phase, against {gib(plan.limit)} GiB; the table below has the numbers"),
        tag("ul", *legend, tag("li", tag("i", class_="seg limit"), f"one GPU, {gib(plan.limit)} GiB"), class_="mem-legend"),
        _numbers(rows, parts, plan.limit), _share(plan), _host(plan), _remedies(advice), class_="memory",
    )  # fmt: skip


def bars(plan: Plan, parts: Sequence[Part]) -> Iterator[Bar]:
    """One for each phase; where the parts have GPUs of their own, one for those that share them in each phase."""
    for phase in Phase:
        for together in [tuple(parts)] if plan.colocated else TOGETHER:
            held = tuple((part, plan.of(phase, part)) for part in together if part in parts)
            name = phase if plan.colocated else f"{phase}: {' and '.join(part for part, size in held if size)}"
            if plan.colocated or any(size for _, size in held):
                yield Bar(name, held)


def verdict(plan: Plan) -> Markup:
    phase = max(Phase, key=plan.total)
    said = f"at most {gib(plan.peak)} of {gib(plan.limit)} GiB, in {phase}"
    if plan.fits:
        return tag("p", f"Fits: {said}.", class_="fine", role="status")
    if plan.peak <= plan.limit:
        said = f"vLLM's share {plan.share:g} holds no sequence of the greatest length"
    return tag("p", f"Does not fit: {said}.", class_="bad", role="status")


def _width(rows: Sequence[Bar], plan: Plan) -> float:
    return ROOM * max(plan.limit, *(row.total for row in rows))


def _bar(row: Bar, limit: int, width: float) -> Markup:
    segments = (
        tag("i", class_=f"seg {part}", style=f"width:{100 * size / width:.2f}%", title=f"{part} {gib(size)} GiB")
        for part, size in row.held
        if size
    )
    line = tag("b", class_="mem-limit", style=f"left:{100 * limit / width:.2f}%")
    return tag("div", tag("span", row.name), tag("div", *segments, line, class_="mem-track"), class_="mem-row")


def _numbers(rows: Sequence[Bar], parts: Sequence[Part], limit: int) -> Markup:
    cells: list[list[Child]] = []
    for row in rows:
        held = dict(row.held)
        over = tag("strong", f" {gib(row.total - limit)} too much") if row.total > limit else None
        each = (gib(held[part]) if held.get(part) else "-" for part in parts)
        cells.append([row.name, join(gib(row.total), over), *each])
    return table(("GiB", "together", *parts), cells)


def _share(plan: Plan) -> Markup:
    enough = f"{plan.smallest_share:g} holds all games of a step at once, {plan.share_needed:g} is the least."
    said = f"vLLM's share is {plan.share:g}: {enough} "
    other = None if plan.share == plan.smallest_share else button("memory.vllm_share", plan.smallest_share)
    return tag("p", said, other)


def _host(plan: Plan) -> Markup | None:
    said = f"And {gib(plan.host)} GiB of the machine's own memory, for what is not on the GPU."
    return tag("p", said) if plan.host else None


def _remedies(advice: Advice) -> Markup | None:
    if not advice.steps:
        return None if advice.fits else tag("p", "No setting lowers it: take a smaller policy, or more GPUs.")
    head = "To make it fit, all of these, cheapest first:" if advice.fits else (
        "No settings make it fit: take a smaller policy, shorter sequences, or more GPUs. These lower it most:"
    )  # fmt: skip
    return join(tag("p", head), tag("ol", *(_remedy(step) for step in advice.steps), class_="mem-steps"))


def _remedy(step: Step) -> Markup:
    return tag("li", button(step.setting, step.value), f" then {gib(step.peak)} GiB; costs {step.cost}")


def button(setting: str, value: Any) -> Markup:
    """Sets the field when it is clicked; the page's script tells."""
    said = ("off", "on")[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
    return tag(
        "button", f"Set {setting} to {said}", type="button", class_="so-button", data_setting=setting,
        data_value=json.dumps(value),
    )  # fmt: skip


def measured(compared: Iterable[Compared]) -> Markup:
    """What was estimated beside what was measured, on all GPUs together."""
    rows: list[list[Child]] = [
        [one.part or "whole run", gib(one.estimated), gib(one.measured), "-" if one.off is None else f"{one.off:+.0%}"]
        for one in compared
    ]
    return join(tag("h4", "GPU memory at its peak", class_="notes-head"),
                table(("GiB", "estimated", "measured", "estimate is off by"), rows))  # fmt: skip


def gib(size: int) -> str:
    return f"{size / GIB:.1f}"
