"""What is kept about runs, and done with those that have ended: notes, tags, settings to start from, and deleting."""

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, StringConstraints

from launcher import export, rundir, store_games, supervise
from launcher.reading import Unreadable
from launcher.rundir import RunDir, write_json
from launcher.runs import Refused, Runs
from launcher.settings import leaves
from launcher.state import QUEUED, State
from launcher.store import Store

Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50)]


_LOG = re.compile(r"train(?:-(\d+))?\.log")
PATIENCE = 5.0
"""Seconds to wait for a supervisor that is winding up."""


class Notes(BaseModel):
    """What people wrote about a run: notes.json in its folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    notes: str = ""
    tags: tuple[Tag, ...] = ()
    """Each once, in the order of the alphabet."""


class Setting(NamedTuple):
    """A setting that is not the same in all runs of a comparison; None where a run has none of that name."""

    key: str
    values: tuple[Any, ...]


def notes_file(run: RunDir) -> Path:
    return run.path / "notes.json"


def notes(run: RunDir) -> Notes:
    """Empty for a run that nobody wrote about. Errors: ValidationError for a file that holds something else."""
    path = notes_file(run)
    return Notes.model_validate_json(path.read_bytes()) if path.exists() else Notes()


def write_notes(run: RunDir, text: str, tags: Sequence[str]) -> Notes:
    """Errors: ValidationError for a tag that is too long, and for a file that holds something else than notes."""
    notes(run)
    given = Notes(notes=text, tags=[tag for tag in tags if tag.strip()])
    written = given.model_copy(update={"tags": tuple(sorted(set(given.tags)))})
    write_json(notes_file(run), written.model_dump(mode="json"))
    return written


def differing(configs: Sequence[Mapping[str, Any]]) -> list[Setting]:
    """The settings in which the runs differ, by their dotted keys, in the order of the first config."""
    given = [dict(leaves(config)) for config in configs]
    keys = dict.fromkeys(key for one in given for key in one)
    found = (Setting(key, tuple(one.get(key) for one in given)) for key in keys)
    return [setting for setting in found if any(value != setting.values[0] for value in setting.values)]


def delete(runs: Runs, store: Store, id: str) -> None:
    """Deletes the run's folder for good, and takes the run out of the index.

    Errors: UnknownRun. Refused for a run that is going on, or whose files another one that is going on was started from,
    and for a folder that is only a link to elsewhere; supervise.Busy while its supervisor winds up. Nothing is deleted then.
    """
    run = rundir.find(runs.folder, id)
    if run.path.is_symlink():
        raise Refused(f"{run.path} is a link to another place; delete it there, and then the link")
    _ended(runs, run)
    for other in rundir.every(runs.folder):
        if other.id != id and str(run.path) in other.config.read_text(encoding="utf-8") and _goes_on(runs.look(other)):
            raise Refused(f"run {other.id} is running on files of run {id}; delete it when that one has ended")
    gone = run.path.with_name(f".deleted-{id}")
    with supervise.sole(run, patience=PATIENCE):
        _ended(runs, run)
        run.path.rename(gone)
    with store.write():
        store_games.forget(store, id)
    shutil.rmtree(gone)


def _ended(runs: Runs, run: RunDir) -> None:
    """Of a run whose state cannot be read, the lock alone tells whether it goes on."""
    with suppress(Unreadable):
        now = runs.look(run)
        if _goes_on(now):
            doing = "waits in the queue; withdraw it" if now.state == QUEUED else "is running; stop it"
            raise Refused(f"run {run.id} {doing} first")


def _goes_on(now: State | None) -> bool:
    return now is not None and not now.ended_already


def archive(store: Store, run: RunDir) -> Path:
    """Writes the export of `launcher.export`, with the notes, as exports/<id>.zip into the run's folder."""
    exports = run.path / "exports"
    exports.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=exports, prefix=".part-") as folder:
        inside = Path(folder) / run.id
        export.write(store, run, inside)
        if notes_file(run).exists():
            shutil.copy(notes_file(run), inside)
        packed = Path(shutil.make_archive(str(Path(folder) / "packed"), "zip", folder, run.id))
        return packed.replace(exports / f"{run.id}.zip")


def size_mb(run: RunDir) -> float:
    """What the run's folder takes on the disk. Links are not followed."""
    return sum(path.lstat().st_size for path in run.path.rglob("*")) / 1e6


def logs(run: RunDir) -> list[Path]:
    """The logs that there are: one a start, oldest first."""
    starts = {int(found[1] or 1): path for path in run.path.iterdir() if (found := _LOG.fullmatch(path.name))}
    return [starts[attempt] for attempt in sorted(starts)]
