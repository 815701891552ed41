"""Reading the small files of a run that may have been damaged, or written by another version."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from launcher.config import RunConfig
from launcher.rundir import RunDir, read_json


class Unreadable(ValueError):
    """A file of a run is not what it should be; the message names it and says why."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Errors: Unreadable for whatever was wrong with the file that is read inside."""
    try:
        yield
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ") for fault in error.errors()]
        raise Unreadable(f"{path} does not fit this version: {'; '.join(faults)}") from error
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path} cannot be read: {error}") from error


def settings(run: RunDir) -> dict[str, Any]:
    """The settings in config.json, whatever their names. Errors: Unreadable."""
    with reading(run.config):
        values = read_json(run.config)
        if not isinstance(values, dict):
            raise ValueError("it holds no settings")
        return {key: value for key, value in values.items() if key not in ("id", "created")}


def config_of(run: RunDir) -> RunConfig:
    """What the run was started with. Errors: Unreadable."""
    with reading(run.config):
        return RunConfig.model_validate(settings(run))
