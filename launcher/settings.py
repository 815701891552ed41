"""RunConfig as a flat table: dotted keys, as `--set` takes them, to fields and to JSON values."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from launcher.config import PRESETS, RunConfig, SettingError, presets


def is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def fields(model: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting with its dotted key, in the schema's order."""
    for name, field in model.model_fields.items():
        if is_section(field):
            yield from fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


FIELDS: dict[str, FieldInfo] = dict(fields())


def flat(config: RunConfig) -> dict[str, Any]:
    """Every setting's value as JSON has it."""
    return dict(leaves(config.model_dump(mode="json")))


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by their dotted keys."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


@cache
def of_preset(name: str) -> Mapping[str, Any]:
    """Every setting's value under the preset. Unlike `resolve` it takes one that the user has to complete.

    Errors: SettingError.
    """
    if name not in presets():
        raise SettingError(f"unknown preset {name!r}; there are: {', '.join(presets())}")
    given = tomllib.loads((PRESETS / f"{name}.toml").read_text(encoding="utf-8"))
    return flat(RunConfig()) | dict(leaves(given)) | {"preset": name}


def changed(values: Mapping[str, Any], preset: str) -> dict[str, Any]:
    """The settings that differ from the preset's."""
    base = of_preset(preset)
    return {key: value for key, value in values.items() if value != base[key]}


def parse(key: str, text: str) -> Any:
    """The setting's JSON value from text. Errors: pydantic's ValidationError; KeyError for an unknown key."""
    adapter = _adapter(key)
    try:
        return adapter.dump_python(adapter.validate_python(json.loads(text)), mode="json")
    except (ValueError, RecursionError):  # no JSON, or JSON that does not fit: a model may be called "7"
        return adapter.dump_python(adapter.validate_python(text), mode="json")


@cache
def _adapter(key: str) -> TypeAdapter:
    field = FIELDS[key]
    return TypeAdapter(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation)
