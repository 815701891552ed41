"""Writes a run out: tables as CSV, games as they were recorded."""

import csv
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from launcher import store_charts
from launcher.rundir import RunDir
from launcher.store import Store
from medical_team.types import Category, Role


class NotEmpty(ValueError):
    """The target holds something already; nothing was written."""


def write(store: Store, run: RunDir, out: Path) -> list[Path]:
    """Writes metrics.csv, rewards.csv, rates.csv, games.jsonl, config.json and the data's card.json into `out`.

    The card names source, licence and citation of the notes that stand in the games. Errors: NotEmpty.
    """
    if out.exists() and any(out.iterdir()):
        raise NotEmpty(f"{out} is not empty; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    names = store.metric_names(run.id)
    metrics = ((name, step, value) for name in names for step, value in store.series(run.id, name))
    rewards = (
        (category, role.value, *point)
        for category in ("", *(category.value for category in Category))
        for role in Role
        for point in store_charts.rewards(store, run.id, role, category)
    )
    return [
        _csv(out / "metrics.csv", ("name", "step", "value"), metrics),
        _csv(out / "rewards.csv", ("category", "role", *store_charts.RolePoint._fields), rewards),
        _csv(out / "rates.csv", store_charts.GamePoint._fields, store_charts.rates(store, run.id)),
        _games(run, out / "games.jsonl"),
        Path(shutil.copy(run.config, out)),
        Path(shutil.copy(run.data / "card.json", out)),
    ]


def _csv(path: Path, head: Sequence[str], rows: Iterable[Sequence]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(head)
        table.writerows(rows)
    return path


def _games(run: RunDir, path: Path) -> Path:
    with path.open("wb") as file:
        for source in sorted(run.games.glob("*.jsonl")):
            with source.open("rb") as records:
                shutil.copyfileobj(records, file)
    return path
