"""HTML made of text that nobody trusts: whatever is not Markup is escaped, and what cannot be seen is made visible."""

import re

from markupsafe import Markup, escape

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and newline
    "\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # marks of direction and of no width
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\ud800-\udfff\U000e0000-\U000e007f]"  # the same, rare; halves of a pair
)

Child = str | Markup | None


def visible(text: str) -> str:
    """The text with a name such as ⟨U+202E⟩ in place of every character that hides, or that turns others around."""
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """An element. Children and values of attributes are escaped; names of both must be ours.

    `class_` stands for class, `data_run` for data-run. True is an attribute without a value; None and False leave it out.
    """
    said = Markup("").join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return Markup("<{name}{said}>{inner}</{name}>").format(name=name, said=said, inner=join(*children))


def join(*children: Child) -> Markup:
    """The children side by side."""
    return Markup("").join(_child(child) for child in children if child is not None)


def table(heads: tuple[str, ...], rows: list[list[Child]], class_: str = "") -> Markup:
    """A plain table with a heading; it scrolls in a frame of its own where it is too wide."""
    head = tag("tr", *(tag("th", text, scope="col") for text in heads))
    body = join(*(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))
    whole = tag("table", tag("thead", head), tag("tbody", body), class_=class_ or None)
    return tag("div", whole, class_="wide", tabindex=0)


def _attribute(name: str, value: str | int | float | bool | None) -> Markup:
    if value is None or value is False:
        return Markup("")
    if value is True:
        return Markup(" {}").format(name)
    return Markup(' {}="{}"').format(name, value)


def _child(child: str | Markup) -> Markup:
    return child if isinstance(child, Markup) else escape(visible(child))
