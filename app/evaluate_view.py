"""The page Evaluate as HTML: how far one is, what it found, and who deceives whom."""

import time
from collections.abc import Sequence

from app.text import duration, moment
from launcher import evaluation_result
from launcher.evaluation_result import Result, Table
from launcher.evaluations import About, State
from launcher.markup import Child, Markup, join, table, tag
from medical_team.evaluation import Progress, anchors
from medical_team.evaluation.scores import TRIVIAL
from medical_team.types import Role

NONE_YET = (
    "No evaluation yet. Choose models and notes, and start one: with the demo's notes it takes less than a minute on two "
    "cores. What it finds is kept, and listed here."
)
FIRST_ROWS = "accuracy"
WIDTH, ROW, LEFT, RIGHT = 640, 22, 250, 20


def head(told: About, now: State, far: Progress | None) -> Markup:
    """What is evaluated, and how far it is."""
    took = duration((now.ended or time.time()) - now.started)
    facts = f"{now.state} · {moment(told.created)} · {took}"
    return join(
        tag("h2", "Evaluation ", tag("bdi", told.id)), tag("p", facts, role="status"), tag("p", told.text),
        tag("p", now.reason, role="alert") if now.reason else None,
        _bar(far) if far and now.state == "running" else None,
    )  # fmt: skip


def _bar(far: Progress) -> Markup:
    said = f"{far.done} of {far.of} replies; {far.doing}"
    return join(tag("progress", value=far.done, max=far.of or 1, aria_label="replies made"), tag("p", said))


def shown(result: Result, source: str) -> Markup:
    """Every table of a finished evaluation."""
    parts = [tag("h3", "Assessor"), intervals(result), _table(evaluation_result.table(result, Role.ASSESSOR))]
    parts.append(tag(
        "p", "Harmful is what is looked for. A reply that could not be read counts as wrong. In brackets: 95 %, Wilson's "
        "for shares with one note of each case, else from 4,000 draws of whole cases, for twins are not independent."
    ))  # fmt: skip
    if result.differences:
        parts += [tag("h3", "Before and after"), _table(evaluation_result.differences(result))]
    if result.cells:
        parts += [
            tag("h3", "Attacker"), _table(evaluation_result.table(result, Role.ATTACKER)),
            tag("h3", "Attackers before frozen assessors"), _matrix(result),
        ]  # fmt: skip
    if anchors.beside(source):
        parts += [tag("h3", "Published"), _table(evaluation_result.published(source)), tag("p", anchors.REMARK)]
    return tag("div", *parts, class_="so-evaluation")


def _table(found: Table) -> Markup:
    heads, rows = found
    return table(heads, [[_first(row[0]), *row[1:]] for row in rows], "so-measures")


def _first(text: str) -> Child:
    return tag("strong", tag("bdi", text))


def _matrix(result: Result) -> Markup:
    said = (
        "How often the faithful notes of each attacker deceive each assessor; both stay as they are. A Harmful one that "
        "deceives has passed as safe. A better attacker is seen down a column, a better assessor along a row."
    )
    return join(tag("p", said), _table(evaluation_result.matrix(result)))


def intervals(result: Result) -> Markup:
    """Accuracy with its interval, a line for each column, beside what answers without reading are worth."""
    rows = [
        (f"{column.name}, {column.how}", next(one for one in column.measures if one.name == FIRST_ROWS))
        for column in result.columns
        if column.role is Role.ASSESSOR and column.how
    ]
    best = max(
        (one.value for column in result.columns if column.name in TRIVIAL and column.how is None
         for one in column.measures if one.name == FIRST_ROWS and one.value is not None), default=None,
    )  # fmt: skip
    height = ROW * len(rows) + 2 * ROW
    marks = [mark for place, (name, one) in enumerate(rows) for mark in _whisker(place, name, one.value, one.interval)]
    drawing = tag(
        "svg", *_scale(height), *_line_at(best, height), *marks, viewBox=f"0 0 {WIDTH} {height}", role="img",
        aria_label="accuracy with intervals; the table below has the numbers",
    )  # fmt: skip
    return tag("figure", tag("figcaption", "Accuracy, 95 %; dashed: the best answer without reading"), drawing)


def _x(value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * value


def _whisker(place: int, name: str, value: float | None, interval: Sequence[float] | None) -> list[Markup]:
    y = ROW * (place + 0.5)
    short = name if len(name) <= 38 else f"…{name[-37:]}"
    marks = [tag("text", short, x=LEFT - 10, y=f"{y + 4:.1f}", text_anchor="end", fill="currentColor", font_size=12)]
    if interval:
        low, high = map(_x, interval)
        marks.append(tag("line", x1=f"{low:.1f}", x2=f"{high:.1f}", y1=y, y2=y, stroke="currentColor", stroke_width=2))
    if value is not None:
        marks.append(tag("circle", cx=f"{_x(value):.1f}", cy=y, r=5, fill="var(--so-focus)"))
    return marks


def _scale(height: int) -> list[Markup]:
    marks = []
    for value in (0, 0.25, 0.5, 0.75, 1):
        x = f"{_x(value):.1f}"
        marks.append(tag("line", x1=x, x2=x, y1=0, y2=height - 18, stroke="currentColor", opacity=0.2))
        marks.append(
            tag("text", f"{value:g}", x=x, y=height - 4, text_anchor="middle", fill="currentColor", font_size=11)
        )
    return marks


def _line_at(value: float | None, height: int) -> list[Markup]:
    if value is None:
        return []
    x = f"{_x(value):.1f}"
    return [
        tag("line", x1=x, x2=x, y1=0, y2=height - 18, stroke="currentColor", stroke_dasharray="5 4", stroke_width=1.5)
    ]
