"""Writes a run out: tables as CSV and as Parquet, games as they were recorded."""

import csv
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple, get_args, get_type_hints

from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema
from arro3.io import write_parquet

from launcher import store_charts, store_judge
from launcher.rundir import RunDir
from launcher.store import Point, Store
from launcher.store_charts import GamePoint, RolePoint
from launcher.store_judge import Reviewed
from medical_team.types import Category, Role

TYPES = {str: DataType.string(), int: DataType.int64(), float: DataType.float64()}
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with, the wide forms too."""

BATCH = 100_000
"""Rows held at once while a table is written."""


class NotEmpty(ValueError):
    """The target holds something already; nothing was written."""


class Table(NamedTuple):
    name: str
    columns: dict[str, type]
    rows: Callable[[], Iterable[Sequence]]
    """Read anew for every file that is written."""


def tables(store: Store, run: str) -> tuple[Table, ...]:
    """What is charted of a run, as rows. The category "" stands for all."""

    def metrics() -> Iterator[tuple]:
        return ((name, *point) for name in store.metric_names(run) for point in store.series(run, name))

    def rewards() -> Iterator[tuple]:
        return (
            (category, role.value, *point)
            for category in ("", *(category.value for category in Category))
            for role in Role
            for point in store_charts.rewards(store, run, role, category)
        )

    return (
        Table("metrics", {"name": str} | columns(Point), metrics),
        Table("rewards", {"category": str, "role": str} | columns(RolePoint), rewards),
        Table("rates", columns(GamePoint), lambda: store_charts.rates(store, run)),
        reviews(store, run),
    )


def reviews(store: Store, run: str) -> Table:
    """The last review of each judged game beside its verdict."""
    return Table("reviews", columns(Reviewed), lambda: store_judge.reviewed(store, run))


def columns(row: type) -> dict[str, type]:
    """Names and types of a NamedTuple's values; None may stand for any of them."""
    return {name: next(iter(get_args(kind)), kind) for name, kind in get_type_hints(row).items()}


def write(store: Store, run: RunDir, out: Path) -> list[Path]:
    """Writes metrics, rewards, rates and reviews as .csv and .parquet, games.jsonl, config.json and the
    data's card.json, as far as the run has them, into `out`.

    The card names source, licence and citation of the notes that stand in the games. Errors: NotEmpty.
    """
    if out.exists() and any(out.iterdir()):
        raise NotEmpty(f"{out} is not empty; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    found = tables(store, run.id)
    return [
        *(_csv(out / f"{table.name}.csv", table) for table in found),
        *(_parquet(out / f"{table.name}.parquet", table) for table in found),
        _games(run, out / "games.jsonl"),
        *(Path(shutil.copy(file, out)) for file in (run.config, run.data / "card.json") if file.exists()),
    ]


def _csv(path: Path, table: Table) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        write_csv(file, table)
    return path


def write_csv(file: IO[str], table: Table) -> None:
    writer = csv.writer(file)
    writer.writerow(map(cell, table.columns))
    writer.writerows(map(cell, row) for row in table.rows())


def cell(value: object) -> object:
    """The value as a cell that no spreadsheet takes for a formula: a text that begins like one gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _parquet(path: Path, table: Table) -> Path:
    schema = Schema([Field(name, TYPES[kind]) for name, kind in table.columns.items()])
    write_parquet(RecordBatchReader.from_batches(schema, _batches(table, schema)), path, compression="zstd(3)")
    return path


def _batches(table: Table, schema: Schema) -> Iterator[RecordBatch]:
    rows, kinds = iter(table.rows()), [TYPES[kind] for kind in table.columns.values()]
    while part := list(islice(rows, BATCH)):
        arrays = [Array(values, kind) for values, kind in zip(zip(*part, strict=True), kinds, strict=True)]
        yield RecordBatch.from_arrays(arrays, schema=schema)


def _games(run: RunDir, path: Path) -> Path:
    with path.open("wb") as file:
        for source in sorted(run.games.glob("*.jsonl")):
            with source.open("rb") as records:
                shutil.copyfileobj(records, file)
    return path
