"""RunConfig as a form: one component for each setting, made from the schema. Values go both ways by pure functions."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, NamedTuple, get_args, get_origin

import gradio as gr
from gradio.components import Component
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from launcher import config, preflight, settings
from launcher.config import RunConfig
from launcher.markup import visible
from launcher.preflight import Problem

KEYS = tuple(key for key in settings.FIELDS if key != "preset")
"""The settings of the form, in the schema's order."""
RADIO_CHARACTERS = 24
"""Longest choices that stand side by side; longer ones fold into a list."""

BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


class Section(NamedTuple):
    name: str
    """Of the schema's section; "run" for what stands outside one."""
    about: str
    keys: tuple[str, ...]


class Mark(NamedTuple):
    """What is said at a field besides its help; static/marks.js shows it there."""

    level: Literal["error", "warning", "changed"]
    text: str


def sections() -> Iterator[Section]:
    top = tuple(key for key in KEYS if "." not in key and key != "name")
    yield Section("run", "What is trained, on what.", top)
    for name, field in RunConfig.model_fields.items():
        if settings.is_section(field):
            about = field.description or field.annotation.__doc__
            yield Section(name, about, tuple(key for key in KEYS if key.startswith(f"{name}.")))


SECTIONS = tuple(sections())


def plain_type(field: FieldInfo) -> Any:
    """The field's type without `| None`."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    optional = len(kinds) == 1 and type(None) in get_args(field.annotation)
    return kinds[0] if optional else field.annotation


def choices(kind: Any) -> tuple[Any, ...] | None:
    """The values that a type allows, if they can be listed."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return tuple(member.value for member in kind)
    return None


def several(kind: Any) -> tuple[Any, ...] | None:
    """The values that a type allows more than one of."""
    return choices(get_args(kind)[0]) if get_origin(kind) is tuple else None


def label(key: str) -> str:
    """The dotted key, as the command line and all messages have it; the guide's own names for CUSTOM_CONFIGS."""
    return key.removeprefix("custom_configs.")


def component(key: str, value: Any) -> Component:
    """The control of one setting, showing `value`. Only a new value is ever sent to it: whatever else is sent would draw
    it anew, and take away the letters that are being typed."""
    field = settings.FIELDS[key]
    kind = plain_type(field)
    common = {
        "value": held(key, value), "label": label(key), "info": field.description + bounds(key), "interactive": True,
        "min_width": 200, "elem_id": "set-" + key.replace(".", "-").replace("_", "-"),
    }  # fmt: skip
    if one_of := choices(kind):
        short = sum(len(str(choice)) for choice in one_of) <= RADIO_CHARACTERS
        return gr.Radio(list(one_of), **common) if short else gr.Dropdown(list(one_of), filterable=False, **common)
    if any_of := several(kind):
        return gr.CheckboxGroup(list(any_of), **common)
    if kind is bool:
        return gr.Checkbox(**common)
    if kind in (int, float):
        return gr.Number(step=1 if kind is int else 0.01, **common)
    return gr.Textbox(max_lines=1, **common)


def held(key: str, value: Any) -> Any:
    """What the component holds for a setting's JSON value. One that it could not hold becomes empty."""
    kind = plain_type(settings.FIELDS[key])
    if one_of := choices(kind):
        return value if value in one_of else None
    if any_of := several(kind):
        return [choice for choice in any_of if isinstance(value, list) and choice in value]
    if kind is bool:
        return value is True
    if kind in (int, float):
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None
    return value if isinstance(value, str) else ""


def typed(key: str, value: Any) -> Any:
    """The setting's JSON value for what the component holds; not yet looked at."""
    field = settings.FIELDS[key]
    kind = plain_type(field)
    if any_of := several(kind):
        return [choice for choice in any_of if choice in (value or [])]
    if isinstance(value, str) and not choices(kind):
        text = value.strip()
        return None if not text and type(None) in get_args(field.annotation) else text
    return value


def fill(values: Mapping[str, Any]) -> list[Any]:
    """Settings to what the components hold, in the order of KEYS."""
    return [held(key, values[key]) for key in KEYS]


def read(components: Sequence[Any]) -> dict[str, Any]:
    """What the components hold to settings: the inverse of `fill`."""
    return {key: typed(key, value) for key, value in zip(KEYS, components, strict=True)}


def resolve(preset: str, values: Mapping[str, Any]) -> RunConfig | list[Problem]:
    """The run that the form describes, as `launcher run --preset … --set …` makes it, or what is wrong with it."""
    try:
        return config.resolve(preset, settings.changed(values, preset))
    except ValidationError as error:
        return preflight.of_error(error)


def with_draft(preset: str, draft: Any) -> dict[str, Any]:
    """The preset's values under those of a draft, which comes from the browser: what does not fit is left out."""
    values = dict(settings.of_preset(preset))
    kept = draft if isinstance(draft, dict) else {}
    return values | {
        key: kept[key] for key in KEYS if key in kept and held(key, kept[key]) == _empty_as_text(kept[key])
    }


def _empty_as_text(value: Any) -> Any:
    return "" if value is None else value


def marks(preset: str, values: Mapping[str, Any], problems: Collection[Problem]) -> dict[str, list[Mark]]:
    """By setting: its problems, and the preset's value where it differs. Nothing for a setting that has neither."""
    base = settings.of_preset(preset)
    found: dict[str, list[Mark]] = {}
    for problem in problems:
        if problem.field in KEYS:
            text = f"{problem.level.capitalize()}: {visible(problem.text)}"
            found.setdefault(problem.field, []).append(Mark(problem.level, text))
    for key in KEYS:
        if values[key] != base[key] and key != "name":
            found.setdefault(key, []).append(Mark("changed", f"Changed from {visible(spoken(base[key]))}"))
    return found


def spoken(value: Any) -> str:
    if value is None or value == "":
        return "empty"
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def bounds(key: str) -> str:
    """The smallest and largest number that fit, in brackets."""
    field = settings.FIELDS[key]
    if plain_type(field) not in (int, float):
        return ""
    rules = [(words, getattr(rule, name, None)) for rule in field.metadata for name, words in BOUNDS.items()]
    said = [f"{words} {bound}" for words, bound in rules if bound is not None]
    return f" ({', '.join(said)})" if said else ""


def heading(section: Section, preset: str, values: Mapping[str, Any], problems: Collection[Problem]) -> str:
    """The section's name, with how many of its settings differ from the preset's or have a problem."""
    changed = sum(key in settings.changed(values, preset) for key in section.keys)
    wrong = len({problem.field for problem in problems if problem.field in section.keys and problem.level == "error"})
    said = [f"{changed} changed"] * bool(changed) + [f"{wrong} to put right"] * bool(wrong)
    return f"{section.name}: {', '.join(said)}" if said else section.name
