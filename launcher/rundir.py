"""A run's folder: names of its files, and writing them so that a reader never meets half a file."""

import json
import os
import re
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medical_team import jsonl

PROJECT = Path(__file__).resolve().parent.parent
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")


class UnknownRun(LookupError):
    """There is no such run; the message says which id was asked for."""


@dataclass(frozen=True)
class RunDir:
    """Paths of one run. Nothing here touches the disk but `create`."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    config = property(lambda self: self.path / "config.json")
    command = property(lambda self: self.path / "command.json")
    state = property(lambda self: self.path / "state.json")
    ballast = property(lambda self: self.path / ".ballast")
    lock = property(lambda self: self.path / "supervisor.lock")
    stop = property(lambda self: self.path / "stop.json")
    games = property(lambda self: self.path / "games")
    probes = property(lambda self: self.path / "probes")
    reviews = property(lambda self: self.path / "reviews.jsonl")
    memory = property(lambda self: self.path / "memory.jsonl")
    events = property(lambda self: self.path / "events.jsonl")
    supervisor_log = property(lambda self: self.path / "supervisor.log")
    data = property(lambda self: self.path / "data")
    checkpoints = property(lambda self: self.path / "checkpoints")
    model = property(lambda self: self.path / "model")
    warm_start = property(lambda self: self.path / "warm-start" / "model")
    tensorboard = property(lambda self: self.path / "tensorboard")

    def log(self, attempt: int) -> Path:
        """What the trainer printed in this start of the run."""
        return self.path / ("train.log" if attempt == 1 else f"train-{attempt}.log")

    @property
    def scratch(self) -> Path:
        """Ray's folder for sockets: short, because a socket's path may have 107 characters, and gone with the run."""
        return Path(tempfile.gettempdir()) / f"so-{self.id}"


def new_id(now: float) -> str:
    """Sorts by time, and is safe as a folder's name."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(2)}"


def runs_folder() -> Path:
    """Where runs are kept: SECOND_OPINION_RUNS, or `runs/` in the project."""
    return Path(os.environ.get("SECOND_OPINION_RUNS") or PROJECT / "runs").resolve()


def is_id(name: str) -> bool:
    """It has the form of an id, and is safe as a folder's name."""
    return bool(_ID.fullmatch(name))


def find(runs: Path, id: str) -> RunDir:
    """The run's folder. Errors: UnknownRun, also for anything that is no run id, such as a path."""
    if not _ID.fullmatch(id) or not (runs / id / "config.json").is_file():
        raise UnknownRun(f"no run {id!r} in {runs}; `python -m launcher list` shows what there is")
    return RunDir(runs / id)


def every(runs: Path) -> list[RunDir]:
    """All runs, oldest first."""
    folders = sorted(runs.iterdir()) if runs.is_dir() else []
    return [RunDir(folder) for folder in folders if _ID.fullmatch(folder.name) and (folder / "config.json").is_file()]


def write_json(path: Path, value: Any) -> None:
    """Replaces `path` in one go: a reader sees the old text or the new."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def append_line(path: Path, value: Any) -> None:
    """One JSON line, as `medical_team.jsonl` writes it."""
    jsonl.append(path, json.dumps(value, ensure_ascii=False))
