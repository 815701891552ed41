"""The table and the figure of `bench/learning.py`."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.markup import Markup, tag

Result = Mapping[str, Any]
"""A line of learning.jsonl: arm, seed, and the figures below, also those of the start model."""

# figure of a result -> heading
FIGURES = {
    "accuracy_greedy": "accuracy, greedy",
    "accuracy_sampled": "accuracy, sampled",
    "specificity_sampled": "specificity, sampled",
    "faithful": "attacker faithful",
    "attack_success": "attack success",
    "deceives_start": "deceives the start model",
    "deceived_by_start": "deceived by the start model",
}
DRAWN = ("accuracy_greedy", "accuracy_sampled", "attack_success")
COMPARED = ("accuracy_sampled", "attack_success")

# Student's t, 0.975 quantile, by number of seeds
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95 % interval of the mean over seeds; None for one seed."""
    if len(values) not in STUDENT:
        return None
    half = STUDENT[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return mean - half, mean + half


def figure_of(done: Sequence[Result], name: str) -> str:
    values = [one[name] for one in done if one[name] is not None]
    if not values:
        return "–"
    found = interval(values)
    return f"{statistics.fmean(values):.3f}" + (f" [{max(0, found[0]):.3f}, {min(1, found[1]):.3f}]" if found else "")


def start_of(done: Sequence[Result], name: str) -> float:
    """The start model's figure: the mean of all evaluations, in each of which it replies anew. NaN without one."""
    values = [one[f"start_{name}"] for one in done if one[f"start_{name}"] is not None]
    return statistics.fmean(values) if values else math.nan


def against_full(done: Sequence[Result], full: Sequence[Result], name: str) -> str:
    """A figure minus the full method's, seed by seed, and whether the difference can be told from chance."""
    reference = {one["seed"]: one[name] for one in full}
    gaps = [one[name] - reference[one["seed"]] for one in done if one["seed"] in reference]
    if not gaps or done == full:
        return "–"
    mean, found = f"{statistics.fmean(gaps):+.3f}", interval(gaps)
    if found is None:
        return mean
    told = "worse" if found[1] < 0 else "better" if found[0] > 0 else "cannot be told"
    return f"{mean} [{found[0]:+.3f}, {found[1]:+.3f}]: {told}"


RISES = ("accuracy_greedy", "accuracy_sampled", "faithful", "attack_success", "deceives_start")


def rises(done: Sequence[Result], arms: Mapping[str, str]) -> str:
    """What every run made of its start model, as Markdown; both were measured in one evaluation, on the same notes."""
    rows = [
        [arm, str(one["seed"]), *(_rise(one[f"start_{name}"], one[name]) for name in RISES)]
        for arm, ones in by_arm(done, arms).items()
        for one in ones
    ]
    return _markdown([("arm", "seed", *(FIGURES[name] for name in RISES)), *rows])


def _rise(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return "–"
    return f"{before:.3f} to {after:.3f}, {100 * (after - before):+.1f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def by_arm(done: Sequence[Result], arms: Mapping[str, str]) -> dict[str, list[Result]]:
    return {arm: found for arm in arms if (found := [one for one in done if one["arm"] == arm])}


def table(done: Sequence[Result], arms: Mapping[str, str]) -> str:
    """Means over seeds with Student's 95 % intervals, as Markdown. `arms` are the arms in order, with what each is."""
    found = by_arm(done, arms)
    before = [f"{start_of(done, name):.3f}" for name in FIGURES]
    heads = ("arm", "what it is", "seeds", *FIGURES.values(), *(f"{FIGURES[name]}: against full" for name in COMPARED))
    nothing = ["–"] * len(COMPARED)
    rows = [["start model", "the warm start, before any of it", "–", *before, *nothing]] if done else []
    rows += [
        [arm, arms[arm], str(len(ones)), *(figure_of(ones, name) for name in FIGURES),
         *(against_full(ones, found.get("full", []), name) for name in COMPARED)]
        for arm, ones in found.items()
    ]  # fmt: skip
    return _markdown([heads, *rows])


LEFT, PANEL, ROW, TOP = 170, 210, 26, 40


def drawing(done: Sequence[Result], arms: Mapping[str, str]) -> str:
    """A row for each arm, a panel for each drawn figure: a dot for each seed, a bar at the mean, dashed the start model."""
    found = by_arm(done, arms)
    height = TOP + ROW * len(found) + 30
    marks = [_text(arm, LEFT - 12, TOP + ROW * (place + 0.5) + 4, "end") for place, arm in enumerate(found)]
    for number, name in enumerate(DRAWN):
        left = LEFT + number * (PANEL + 30)
        marks += _panel(left, height, FIGURES[name], start_of(done, name))
        for place, ones in enumerate(found.values()):
            marks += _dots(left, TOP + ROW * (place + 0.5), [one[name] for one in ones if one[name] is not None])
    width = LEFT + len(DRAWN) * (PANEL + 30)
    style = tag("style", Markup("text{font:12px system-ui,sans-serif;fill:#333}"))
    background = tag("rect", width=width, height=height, fill="#ffffff")
    return str(
        tag("svg", style, background, *marks, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}")
    )


def _panel(left: float, height: float, title: str, start: float) -> list[Markup]:
    marks = [_text(title, left + PANEL / 2, 18, "middle")]
    for value in (0, 0.25, 0.5, 0.75, 1):
        x = left + PANEL * value
        marks += [_line(x, TOP - 8, x, height - 24, stroke="#ccc"), _text(f"{value:g}", x, height - 8, "middle")]
    if math.isfinite(start):
        x = left + PANEL * start
        marks.append(_line(x, TOP - 8, x, height - 24, stroke="#b3261e", stroke_dasharray="5 4"))
    return marks


def _dots(left: float, y: float, values: Sequence[float]) -> list[Markup]:
    if not values:
        return []
    mean = left + PANEL * statistics.fmean(values)
    dots = [
        tag("circle", cx=f"{left + PANEL * value:.1f}", cy=f"{y:.1f}", r=4, fill="#0f766e", opacity=0.6)
        for value in values
    ]
    return [*dots, _line(mean, y - 9, mean, y + 9, stroke="#0f766e", stroke_width=2.5)]


def _line(x1: float, y1: float, x2: float, y2: float, **style: str | float) -> Markup:
    return tag("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", **style)


def _text(text: str, x: float, y: float, anchor: str) -> Markup:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def write(out: Path, done: Sequence[Result], arms: Mapping[str, str]) -> None:
    said = (
        "Means over seeds; in brackets Student's 95 % interval over seeds, cut at 0 and 1. Held-out notes of the demo, half "
        "of them harmful. Attacks are written and read at temperature 1, as in training; who deceives is told by the share "
        "of faithful harmful notes that are taken for safe. Attack success is the share of all harmful attacks that are "
        "faithful and taken for safe by the start model. An arm is worse or better than the full method where the interval "
        "of the difference, seed by seed, has no 0 in it. Made by `bench/learning.py`.\n\n"
    )  # fmt: skip
    drawn = "\n\n![The same, by seed](learning.svg)\n\nEvery run, from its start model and in points:\n\n"
    (out / "learning.md").write_text(said + table(done, arms) + drawn + rises(done, arms) + "\n", encoding="utf-8")
    (out / "learning.svg").write_text(drawing(done, arms) + "\n", encoding="utf-8")
