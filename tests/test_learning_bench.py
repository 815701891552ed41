"""The learning bench's table and figure, from results that are written out; no run is started."""

import xml.etree.ElementTree as tree

import pytest
from scipy import stats

from bench import learning
from bench.learning_report import COMPARED, FIGURES, STUDENT, against_full, drawing, interval, rises, table
from launcher.config import resolve

ARMS = {name: arm.about for name, arm in learning.ARMS.items()}


def result(arm: str, seed: int, sampled: float) -> dict:
    values = dict.fromkeys(FIGURES, 0.9) | {"accuracy_sampled": sampled}
    return {"arm": arm, "seed": seed} | values | {f"start_{name}": 0.7 for name in FIGURES}


DONE = [result("full", 1, 0.8), result("full", 2, 0.9), result("full", 3, 0.85),
        result("attacker off", 1, 0.9), result("attacker off", 2, 0.9)]  # fmt: skip


def test_every_arm_is_a_run_that_can_be_started():
    for arm in learning.ARMS.values():
        resolve(arm.preset, {"seed": 1, "eval.steps": 0, "checkpoint.steps": 20} | arm.settings)
        assert arm.agent is None or arm.agent.is_file()
    names = {"full", "no role baseline", "no frozen opponents", "attacker off", "single turn", "ancestor's reward"}
    assert set(learning.ARMS) == names


def test_the_quantiles_and_the_interval_are_students():
    for seeds, value in STUDENT.items():
        assert value == pytest.approx(stats.t.ppf(0.975, seeds - 1), abs=6e-4)
    values = [0.8, 0.9, 0.85]
    wanted = stats.t.interval(0.95, 2, stats.tmean(values), stats.sem(values))
    assert interval(values) == pytest.approx(wanted, abs=1e-4)
    assert interval([0.8]) is None


def test_the_table_compares_seed_by_seed_and_leaves_out_what_was_not_run():
    lines = table(DONE, ARMS).splitlines()
    assert len(lines) == 2 + 1 + 2  # heads, start model, two arms
    off = next(line for line in lines if line.startswith("| attacker off"))
    compared = off.split(" | ")[-len(COMPARED)]
    assert compared.startswith("+0.050 [") and compared.endswith("cannot be told")  # +0.1 and 0 of the seeds of both
    assert "| full |" in lines[3] and lines[3].split(" | ")[2] == "3" and lines[3].endswith("| – | – |")
    assert lines[2].startswith("| start model") and "0.700" in lines[2]


def test_a_difference_is_told_where_its_interval_has_no_zero_in_it():
    full = [result("full", seed, 0.8) for seed in (1, 2, 3)]
    for gap, told in ((0.1, "better"), (-0.1, "worse"), (-0.002, "cannot be told")):
        other = [result("attacker off", seed, 0.8 + gap + seed / 1000) for seed in (1, 2, 3)]
        assert against_full(other, full, "accuracy_sampled").endswith(told)


def test_every_run_stands_beside_its_start_model():
    lines = rises(DONE, ARMS).splitlines()
    assert len(lines) == 2 + len(DONE) and "0.700 to 0.800, +10.0" in lines[2]


def test_the_figure_is_an_image_with_a_dot_for_every_seed():
    drawn = tree.fromstring(drawing(DONE, ARMS))
    assert len(drawn.findall("{*}circle")) == 3 * len(DONE)
    assert [text.text for text in drawn.findall("{*}text")][:2] == ["full", "attacker off"]
