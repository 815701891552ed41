"""Small charts as inline SVG, built from numbers and escaped names alone. They need no script and no network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.markup import Markup, tag

Points = Sequence[tuple[float, float]]

MOST = 400
"""Points drawn of one curve; longer ones are averaged over stretches of equal length."""

COLOURS = ("#2f8fbf", "#cf6a1e", "#5f9a35", "#a860c0", "#d0566e", "#808890")
"""Each told from white and from the dark theme's background by at least 3 to 1."""

DASHES = ("", "6 3", "2 3", "8 3 2 3", "12 4", "4 2 1 2")
"""A curve is told by its dashes too, not by its colour alone."""

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 240, 46, 24, 10, 8


@dataclass(frozen=True)
class Curve:
    name: str
    points: Points
    """(step, value) in order of steps; values that are not finite are left out."""


def thinned(points: Points, most: int = MOST) -> list[tuple[float, float]]:
    """At most `most` points: the means of stretches of equal length."""
    known = [point for point in points if math.isfinite(point[1])]
    size = max(1, math.ceil(len(known) / most))
    parts = [known[first : first + size] for first in range(0, len(known), size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def sparkline(values: Sequence[float], width: int = 120, height: int = 22) -> Markup:
    """A curve without axes; says its first and last value to those who cannot see it. Empty without two values."""
    points = thinned(list(enumerate(values)), width // 2)
    if len(points) < 2:
        return Markup("")
    low, high = _range([y for _, y in points])
    last = points[-1][0] or 1
    drawn = [(1 + (width - 2) * x / last, height - 2 - (height - 4) * (y - low) / (high - low)) for x, y in points]
    label = f"from {points[0][1]:.2f} to {points[-1][1]:.2f}"
    return tag(
        "svg", _line(drawn, stroke="currentColor", stroke_width=1.4), role="img", aria_label=label, width=width,
        height=height, viewBox=f"0 0 {width} {height}", class_="sparkline",
    )  # fmt: skip


def chart(title: str, curves: Sequence[Curve], dots: bool = False) -> Markup:
    """Curves over steps, with axes and a legend that gives each one's last value; with `dots` each point is marked."""
    thin = [(curve.name, thinned(curve.points)) for curve in curves]
    known = [(name, points) for name, points in thin if points]
    if not known:
        return tag(
            "figure", tag("figcaption", title), tag("p", "No step finished yet.", class_="empty"), class_="chart"
        )
    xs = [x for _, points in known for x, _ in points]
    low, high = _range([y for _, points in known for _, y in points])
    first, last = min(xs), max(max(xs), min(xs) + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * (x - first) / (last - first)
        return across, TOP + (HEIGHT - TOP - BOTTOM) * (1 - (y - low) / (high - low))

    lines = [
        _line([place(*point) for point in points], stroke=_colour(number), stroke_dasharray=_dash(number),
              stroke_width=1.8)
        for number, (_, points) in enumerate(known)
    ]  # fmt: skip
    marks = [
        tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, fill=_colour(number))
        for number, (_, points) in enumerate(known if dots else [])
        for x, y in (place(*point) for point in points)
    ]
    drawing = tag(
        "svg", *_axes(place, (first, last), (low, high)), *lines, *marks, role="img", aria_label=title,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
    )  # fmt: skip
    legend = tag("ul", *(_entry(number, name, points) for number, (name, points) in enumerate(known)))
    return tag("figure", tag("figcaption", title), drawing, legend, class_="chart")


def _entry(number: int, name: str, points: Points) -> Markup:
    key = tag(
        "svg", _line([(0, 5), (28, 5)], stroke=_colour(number), stroke_dasharray=_dash(number), stroke_width=2),
        width=28, height=10, viewBox="0 0 28 10", aria_hidden="true",
    )  # fmt: skip
    return tag("li", key, " ", tag("bdi", name), f" {points[-1][1]:.3f}")


def _axes(place, steps: tuple[float, float], values: tuple[float, float]) -> list[Markup]:
    marks = []
    for value in _ticks(*values):
        _, y = place(steps[0], value)
        marks.append(_line([(LEFT, y), (WIDTH - RIGHT, y)], stroke="currentColor", stroke_width=0.5, opacity=0.3))
        marks.append(_text(f"{value:g}", x=LEFT - 6, y=y + 4, text_anchor="end"))
    for step in _ticks(*steps):
        x, _ = place(step, values[0])
        marks.append(_text(f"{step:g}", x=x, y=HEIGHT - 6, text_anchor="middle"))
    return marks


def _text(text: str, **place: str | float) -> Markup:
    rounded = {key: f"{value:.1f}" if isinstance(value, float) else value for key, value in place.items()}
    return tag("text", text, **rounded, fill="currentColor", font_size=11)


def _line(points: Points, **style: str | float | None) -> Markup:
    return tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), fill="none", **style)


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round values from `low` to `high`."""
    rough = (high - low) / 5
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    return [round(number * step, 10) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high - low > 1e-9 * max(abs(low), abs(high)) else (low - 0.5, high + 0.5)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _dash(number: int) -> str | None:
    return DASHES[number % len(DASHES)] or None
