"""The grammar of the demo world's notes: which sentences, in which order, in which words.

It knows nothing of medicine. A `Layout` is one way to write a note; two notes of one layout differ only in their facts.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SENTENCES = Path(__file__).parents[1] / "data" / "demo_notes.json"

WORDS = range(25, 46)
"""Length of a note, in words."""


@dataclass(frozen=True)
class Grammar:
    layouts: tuple[tuple[str, ...], ...]
    """Kinds of sentence in order; "{context}" in a kind stands for allergy or home."""
    sentences: Mapping[str, tuple[str, ...]]
    """Kind -> templates with the slots in braces."""
    openers: tuple[str, ...]
    fillers: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """The templates of a note, in order."""

    templates: tuple[str, ...]


def load_grammar(path: Path = SENTENCES) -> Grammar:
    table = json.loads(path.read_text(encoding="utf-8"))
    return Grammar(
        layouts=tuple(map(tuple, table["layouts"])),
        sentences={kind: tuple(templates) for kind, templates in table["sentences"].items()},
        openers=tuple(table["openers"]),
        fillers=tuple(table["fillers"]),
    )


GRAMMAR = load_grammar()


def draw_layout(rng: random.Random, slots: Mapping[str, str]) -> Layout:
    """A layout in which `slots` make a note of usual length."""
    while True:
        layout = _draw(rng, "allergy" if "allergy" in slots else "home")
        if len(fill(layout, slots).split()) in WORDS:
            return layout


def fill(layout: Layout, slots: Mapping[str, str]) -> str:
    """The note: `slots` gives the words for age, finding, diagnosis, management, drug, dose and allergy or home."""
    return " ".join(template.format_map(slots) for template in layout.templates)


def _draw(rng: random.Random, context: str) -> Layout:
    kinds = [kind.replace("{context}", context) for kind in rng.choice(GRAMMAR.layouts)]
    templates = [rng.choice(GRAMMAR.sentences[kind]) for kind in kinds]
    for filler in rng.sample(GRAMMAR.fillers, rng.choice((0, 0, 1, 1, 1, 2))):
        templates.insert(rng.randint(1, len(templates)), filler)
    opener = [rng.choice(GRAMMAR.openers)] if rng.random() < 0.25 else []
    return Layout((*opener, *templates))
