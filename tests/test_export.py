"""The tables of an export, read back: Parquet by another library than wrote it."""

import csv
import math

import fastparquet
import pytest
from test_app import add_step, make
from test_store import TIE, attacked, game

from launcher import export, store_charts
from launcher.rundir import write_json
from launcher.runs import Runs
from launcher.store import Store
from medical_team.types import Role


@pytest.fixture
def exported(tmp_path):
    here = Runs(tmp_path / "runs")
    here.folder.mkdir()
    with Store(here.store_path) as store:
        run = make(here)
        for step in range(1, 4):
            add_step(
                run, store, step, [attacked(f"a{step}", step), game(f"b{step}", step), game(f"t{step}", step, **TIE)]
            )
        add_step(run, store, 4, [game("only", 4)], reward=math.nan)
        run.data.mkdir()
        write_json(run.data / "card.json", {"licence": "CC BY 4.0"})
        files = export.write(store, run, tmp_path / "out")
        yield store, run, tmp_path / "out", files


def table(out, name):
    with (out / f"{name}.parquet").open("rb") as file:
        return fastparquet.ParquetFile(file).to_pandas()


def test_every_table_is_there_in_both_kinds_with_the_same_rows(exported):
    _, _, out, files = exported
    names = {path.name for path in files}
    assert {f"{name}.{kind}" for name in ("metrics", "rewards", "rates") for kind in ("csv", "parquet")} < names
    for name in ("metrics", "rewards", "rates"):
        with (out / f"{name}.csv").open(newline="") as file:
            head, *rows = csv.reader(file)
        read = table(out, name)
        assert list(read.columns) == head and len(read) == len(rows) > 3
        told = [
            ["" if value is None or value != value else value for value in row] for row in read.itertuples(index=False)
        ]
        for row, from_csv in zip(told, rows, strict=True):
            for value, text in zip(row, from_csv, strict=True):
                assert str(value) == text or value == "" and text in ("", "nan") or float(text) == value


def test_numbers_are_numbers_and_what_is_not_known_is_nothing(exported):
    store, run, out, _ = exported
    metrics, rewards, rates = (table(out, name) for name in ("metrics", "rewards", "rates"))
    assert (metrics.step.dtype, metrics.value.dtype) == ("int64", "float64")
    assert list(metrics[metrics.name == "timing/step_total"].value) == [2.0] * 4
    assert math.isnan(metrics[(metrics.name == "reward") & (metrics.step == 4)].value.item())
    wanted = [point.mean_reward for point in store_charts.rewards(store, run.id, Role.ASSESSOR)]
    assert list(rewards[(rewards.category == "") & (rewards.role == "assessor")].mean_reward) == wanted
    assert rates.faithful.isna().tolist() == [False, False, False, True]


def test_a_table_longer_than_a_batch_is_whole(tmp_path):
    rows = [("a", step, step / 3) for step in range(export.BATCH * 2 + 1)]
    long = export.Table("long", {"name": str, "step": int, "value": float}, lambda: rows)
    export._parquet(tmp_path / "long.parquet", long)
    assert list(table(tmp_path, "long").value) == [value for _, _, value in rows]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_a_text_that_begins_like_a_formula_is_none_in_a_spreadsheet(tmp_path, text):
    rows = export.Table("t", {text: str, "n": float}, lambda: [(text, -1.5), ("plain", 2.0)])
    with (tmp_path / "t.csv").open("w+", newline="", encoding="utf-8") as file:
        export.write_csv(file, rows)
        file.seek(0)
        assert [*csv.reader(file)] == [[f"'{text}", "n"], [f"'{text}", "-1.5"], ["plain", "2.0"]]
