import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import charts
from app.charts import Table, card, listed, stacked_rows, table, thinned, warm_up, wire

values = st.lists(st.none() | st.floats(-1e6, 1e6), max_size=200)
weights = st.floats(0, 0.99)


def made(x, **columns):
    return Table(np.array(x, dtype=float), {name: np.array(column, dtype=float) for name, column in columns.items()})


def curve(length, columns=1):
    random.seed(7)
    return made(range(1, length + 1), **{f"c{i}": [random.gauss(0, 1) for _ in range(length)] for i in range(columns)})


def smoothed(column, weight):
    return listed(charts.smoothed(np.array(column, dtype=float), weight))


def one_by_one(column, weight):
    """The definition, as TensorBoard has it."""
    sums = norm = 0.0
    out = []
    for value in column:
        if value is not None:
            sums, norm = weight * sums + value, weight * norm + 1.0
        out.append(None if value is None else sums / norm)
    return out


def test_curves_side_by_side_have_gaps_where_one_has_no_value():
    found = table({"a": [(1, 0.5), (3, 0.7)], "b": [(3, math.nan), (2, math.inf), (1, 2.0)]})
    assert list(found.x) == [1, 2, 3]
    assert {name: listed(column) for name, column in found.columns.items()} == {
        "a": [0.5, None, 0.7], "b": [2.0, None, None],
    }  # fmt: skip


def test_without_curves_there_is_an_empty_table():
    assert len(table({}).x) == 0 and table({}).columns == {}
    assert wire(table({"a": []}), -1, 0.5, 100, False) == {"x": [], "raw": {"a": []}, "smooth": {"a": []}}


@given(values)
def test_no_smoothing_leaves_the_values_as_they_are(column):
    assert smoothed(column, 0.0) == column


@given(values, weights)
def test_smoothing_keeps_gaps_and_stays_between_the_extremes(column, weight):
    out = smoothed(column, weight)
    exact = [value for value in one_by_one(column, weight) if value is not None]
    assert [value for value in out if value is not None] == pytest.approx(exact, rel=1e-6, abs=1e-3)
    known = [value for value in column if value is not None]
    assert [value is None for value in out] == [value is None for value in column]
    for value in out:
        assert value is None or min(known) - 1e-3 <= value <= max(known) + 1e-3


def test_smoothing_is_tensorboards():
    assert smoothed([1.0, 3.0], 0.5) == [1.0, (0.5 * 0.5 * 1.0 + 0.5 * 3.0) / (1 - 0.5**2)]


@pytest.mark.parametrize("weight", [0.1, 0.6, 0.9, 0.99])
def test_the_warm_up_is_long_enough_for_a_part_to_be_smoothed_like_the_whole(weight):
    column = curve(3000).columns["c0"]
    part = smoothed(column[2500 - warm_up(weight) :], weight)
    assert part[-500:] == pytest.approx(smoothed(column, weight)[2500:], abs=1e-3)


def test_few_rows_are_all_drawn():
    assert list(thinned(curve(100, 2), 300)) == list(range(100))


@pytest.mark.parametrize("columns", [1, 4])
def test_thinning_keeps_to_its_room_and_every_extreme(columns):
    whole = curve(100_000, columns)
    rows = thinned(whole, 2000).tolist()
    kept = whole.rows(rows)
    assert rows == sorted(set(rows)) and rows[-1] == 99_999
    assert len(rows) * (columns + 1) <= 2000 + columns + 1
    for name, column in whole.columns.items():
        assert max(kept.columns[name]) == max(column) and min(kept.columns[name]) == min(column)


def test_thinning_passes_over_stretches_without_values():
    gaps = made(range(1000), a=[None if i < 900 else float(i) for i in range(1000)])
    assert thinned(gaps, 100)[0] == 900


def test_stacked_columns_are_thinned_by_their_sum():
    whole = made(range(1000), a=[float(i == 500) for i in range(1000)], b=[1.0] * 1000)
    rows = stacked_rows(whole, 90)
    assert 500 in rows and len(rows) <= 31


def test_the_page_gets_the_rows_after_the_ones_that_it_has_smoothed_by_those_before():
    whole = table({"a": [(step, float(step % 2)) for step in range(1, 101)]})
    answer = wire(whole, 98, 0.5, 1000, False)
    assert answer["x"] == [99, 100] and answer["raw"]["a"] == [1.0, 0.0]
    assert answer["smooth"]["a"] == pytest.approx(smoothed(whole.columns["a"], 0.5)[-2:], rel=1e-7)


def test_what_is_sent_fits_with_the_smoothed_curve_beside_the_raw_one():
    answer = wire(curve(50_000, 2), -1, 0.9, 3000, False)
    assert 0.5 * 3000 < sum(map(len, (answer["x"], *answer["raw"].values(), *answer["smooth"].values()))) <= 3300


def test_smoothing_comes_before_thinning():
    whole = curve(20_000)
    answer = wire(whole, -1, 0.99, 500, False)
    exact = dict(zip(whole.x, smoothed(whole.columns["c0"], 0.99), strict=True))
    assert answer["smooth"]["c0"] == pytest.approx([exact[x] for x in answer["x"]], rel=1e-7)


def test_a_card_compares_the_newest_points_with_those_before():
    points = [(step, 1.0) for step in range(10)] + [(step, 2.0) for step in range(10, 20)]
    assert card(points) == charts.Card(2.0, 1.0, (1.0,) * 10 + (2.0,) * 10)
    assert card(points[:3]) == charts.Card(1.0, None, (1.0, 1.0, 1.0))
    assert card([(1, None), (2, math.nan)]) is None
