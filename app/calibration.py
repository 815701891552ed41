"""How far the judge's probabilities can be believed: how often the notes of a band were harmful indeed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from launcher.markup import Markup, join, table, tag
from launcher.store_truth import Believed
from launcher.svg import Curve, chart

BINS = 5


class Bin(NamedTuple):
    """The notes whose probability of harm lies in a band of equal width."""

    low: float
    high: float
    notes: int
    harmful: int
    mean: float | None
    """Of their probabilities; None without a note."""


def bins(known: Iterable[Believed], count: int = BINS) -> list[Bin]:
    """Bands from 0 to 1; a probability on a border counts in the upper one, and 1 in the last."""
    inside: list[list[Believed]] = [[] for _ in range(count)]
    for one in known:
        inside[min(int(one.p_harm * count), count - 1)].append(one)
    return [
        Bin(at / count, (at + 1) / count, len(band), sum(one.harmful for one in band),
            sum(one.p_harm for one in band) / len(band) if band else None)
        for at, band in enumerate(inside)
    ]  # fmt: skip


def shown(sources: Mapping[str, Sequence[Believed]]) -> Markup:
    """Plot and table, a curve for every source of notes whose truth is known."""
    found = {name: bins(known) for name, known in sources.items() if known}
    head = tag("h2", "Calibration")
    if not found:
        return join(head, tag(
            "p", "Comes with a judge check, a probe or a review of a note for which the judge told a probability of harm.",
            class_="empty",
        ))  # fmt: skip
    curves = [Curve(name, [(one.mean, one.harmful / one.notes) for one in bands if one.notes])
              for name, bands in found.items()]  # fmt: skip
    perfect = Curve("perfectly calibrated", [(0.0, 0.0), (1.0, 1.0)])
    rows = [
        [
            name,
            f"{one.low:.1f} to {one.high:.1f}",
            str(one.notes),
            f"{one.harmful / one.notes:.1%}" if one.notes else "–",
        ]
        for name, bands in found.items()
        for one in bands
    ]
    title = "Share of harmful notes over the judge's mean probability of harm"
    return join(
        head, chart(title, [perfect, *curves], dots=True),
        tag("details", tag("summary", "The same in numbers"),
            table(("notes", "P(harmful)", "how many", "harmful indeed"), rows)),
    )  # fmt: skip
