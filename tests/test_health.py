"""Every alarm rings for what it is there for, within five steps, and none rings for a healthy run."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from launcher import health, health_series, health_watch
from launcher.config import resolve
from launcher.health import Kind, Player, Step
from launcher.ingest import ingest
from launcher.rundir import RunDir
from launcher.store import Store
from medical_team.records import GameRecord
from medical_team.types import Label, Role
from tests import played
from tests.played import Play, with_figure

RECORDED = Path(__file__).parent / "recorded"
HEALTHY_STEPS = 12
WELL = Play()


@pytest.fixture
def run(tmp_path):
    found = RunDir(tmp_path / "20260102-030405-abcd")
    found.games.mkdir(parents=True)
    found.config.write_text("{}", encoding="utf-8")
    return found


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "runs.db") as found:
        yield found


def kinds(store: Store, run: RunDir, step: int, config=None) -> set[Kind]:
    ingest(store, run.path)
    return {one.kind for one in health_watch.findings(store, run.id, config or resolve("cpu-demo"), step)}


COLLAPSES = [
    (Kind.ONE_LABEL, replace(WELL, always=Label.HARMFUL)),
    (Kind.ONE_LABEL, replace(WELL, always=Label.SAFE)),
    (Kind.LENGTH, replace(WELL, thinking=0)),
    (Kind.LENGTH, replace(WELL, thinking=3)),
    (Kind.COPIED, replace(WELL, copies=0.9)),
    (Kind.GARBLED, replace(WELL, garbled=0.9)),
    (Kind.UNFAITHFUL, replace(WELL, faithful=0.05)),
    (Kind.TIES, replace(WELL, ties=0.9)),
    (Kind.UNDECIDED, replace(WELL, ties=0.5)),
    (Kind.ONE_WINNER, replace(WELL, skill=0.0)),
    (Kind.FLAT, replace(WELL, reward=0.25)),
    (Kind.REWARD, replace(WELL, reward=-2.0)),
    (Kind.KL, with_figure(WELL, "vllm_kl", 0.5)),
    (Kind.KL, with_figure(WELL, "kl", 3.0)),
    (Kind.EXPLODING, with_figure(WELL, "actor_grad_norm", 900.0)),
    (Kind.EXPLODING, with_figure(WELL, "policy_loss", -50.0)),
    (Kind.NOT_FINITE, with_figure(WELL, "policy_loss", math.nan)),
    (Kind.NOT_FINITE, with_figure(WELL, "actor_grad_norm", math.inf)),
]


@pytest.mark.parametrize(("kind", "play"), COLLAPSES, ids=lambda value: value.name if isinstance(value, Kind) else "")
def test_a_run_that_collapses_is_told_of_within_five_steps(store, run, kind, play):
    for step in range(1, HEALTHY_STEPS + 1):
        played.step(run, step)
        assert not kinds(store, run, step), f"healthy step {step}"
    for step in range(HEALTHY_STEPS + 1, HEALTHY_STEPS + 6):
        played.step(run, step, play)
        if kind in kinds(store, run, step):
            return
    pytest.fail(f"{kind} was not seen in five steps")


@pytest.mark.parametrize("games", [4, 8, 64])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_healthy_players_raise_nothing_whatever_the_size_of_a_batch(store, run, games, seed):
    for step in range(1, 41):
        played.step(run, step, replace(WELL, games=games, skill=0.5 + step / 90), seed)
    ingest(store, run.path)
    found = [health_watch.findings(store, run.id, resolve("cpu-demo"), step) for step in range(1, 41)]
    assert found == [[]] * 40


def thinking(step: int, words: float, turns: int = 32) -> Step:
    player = Player(thoughts=turns, words=round(words * turns))
    return Step(step, attacker=player, assessor=player)


def test_thinking_that_shrinks_step_after_step_is_told_of_long_before_it_is_short():
    chance = random.Random(1)
    steps = [
        thinking(step, 40 * (0.95 if step > 20 else 1) ** (step - 20) * chance.gauss(1, 0.03)) for step in range(1, 41)
    ]
    told = [last for last in range(1, 41) if [*health_series.length_collapse(steps[:5], steps[:last])]]
    assert 25 <= told[0] <= 32 and told == list(range(told[0], 41))
    found = next(health_series.length_collapse(steps[:5], steps[: told[0]]))
    assert found.kind is Kind.LENGTH and "gets shorter step after step: from " in found.text


@pytest.mark.parametrize("seed", range(20))
def test_thinking_that_only_varies_is_no_trend(seed):
    chance = random.Random(seed)
    steps = [thinking(step, 30 * chance.gauss(1, 0.08)) for step in range(1, 81)]
    assert not [last for last in range(1, 81) if [*health_series.length_collapse(steps[:5], steps[:last])]]
    assert not [*health_series.shrinking([thinking(step, 40 - 2 * step, turns=4) for step in range(1, 15)])]


def recorded_steps(path: Path) -> list[Step]:
    """Steps of a real run as `store_health.steps` gave them, one a line."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Step(**row | {"figures": tuple(map(tuple, row["figures"])), "attacker": Player(**row["attacker"]),
                      "assessor": Player(**row["assessor"])})
        for row in rows
    ]  # fmt: skip


@pytest.mark.parametrize("path", sorted(RECORDED.glob("cpu-demo-*.steps.jsonl")), ids=lambda path: path.name)
def test_a_recorded_run_of_the_demo_that_learns_is_healthy_at_every_step(path):
    steps = recorded_steps(path)
    assert len(steps) == 60 and steps[-1].step == 60
    ranges = {role: 4.0 for role in Role}
    for last in range(1, 61):
        newest = steps[max(0, last - health_watch.HISTORY) : last]
        first = steps[: health_watch.FIRST] if last > health_watch.FIRST else []
        assert [*health.shares(newest), *health_series.series(first, newest, ranges)] == []


@pytest.mark.parametrize("name", ["cpu-60-steps.log", "cpu-selfplay-with-eval.log", "h100-tiny-4-steps.log",
                                  "h100-3b-offload-2-steps-killed.log"])  # fmt: skip
def test_the_figures_of_recorded_logs_are_healthy(store, run, name):
    run.log(1).write_bytes((RECORDED / name).read_bytes())
    ingest(store, run.path)
    last = max(point.step for point in store.series(run.id, "policy_loss"))
    assert last >= 2
    for step in range(1, last + 1):
        assert not kinds(store, run, step)


def test_a_step_that_was_played_again_counts_as_it_was_played_last(store, run):
    for step in range(1, HEALTHY_STEPS + 1):
        played.step(run, step, replace(WELL, copies=0.9) if step > 7 else WELL)
    assert kinds(store, run, HEALTHY_STEPS) == {Kind.COPIED}
    again = RunDir(run.path.with_name("again"))
    again.games.mkdir(parents=True)
    for step in range(8, HEALTHY_STEPS + 1):
        played.step(again, step)
    text = (again.games / "1-1.jsonl").read_text(encoding="utf-8").replace('"attempt":1', '"attempt":2')
    text = text.replace('"game":"g', '"game":"again')
    (run.games / "1-2.jsonl").write_text(text, encoding="utf-8")
    assert kinds(store, run, HEALTHY_STEPS) == set()


def test_a_finding_tells_its_numbers_and_the_games_that_show_it(store, run):
    for step in range(1, 6):
        played.step(run, step, replace(WELL, always=Label.HARMFUL))
    ingest(store, run.path)
    found = next(
        one for one in health_watch.findings(store, run.id, resolve("cpu-demo"), 5) if one.kind is Kind.ONE_LABEL
    )
    assert found.step == 5
    assert "160 of 160 answers of assessors are Harmful (100%, steps 1 to 5; the bound is 80%)" in found.text
    assert found.place == health.games(1, 5, [("answer", "Harmful")])


def test_a_frozen_assessor_is_blamed_for_nothing(store, run):
    """With no_defender_turn the assessor is not trained: what it always answers is no collapse of the policy."""
    for step in range(1, 6):
        played.step(run, step, replace(WELL, always=Label.HARMFUL))
    path = run.games / "1-1.jsonl"
    records = [GameRecord.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open("w", encoding="utf-8") as file:
        for one in records:
            turns = tuple(turn.model_copy(update={"trained": turn.role is Role.ATTACKER}) for turn in one.turns)
            file.write(one.model_copy(update={"turns": turns}).model_dump_json() + "\n")
    assert Kind.ONE_LABEL not in kinds(store, run, 5)


def test_groups_are_those_that_the_estimator_compares(store, run):
    """Every prompt's replies earn the same, but prompts differ: nothing is learnt by groups, much by players."""
    for step in range(1, 6):
        for sample in range(8):
            records = [played.game(run.id, step, 4 * number, replace(WELL, reward=1.0 + sample), random.Random(1))
                       for number in range(4)]  # fmt: skip
            with (run.games / "1-1.jsonl").open("a", encoding="utf-8") as file:
                for at, record in enumerate(records):
                    one = record.model_copy(update={"sample": f"s{sample}", "game": f"{step}-{sample}-{at}"})
                    file.write(one.model_dump_json() + "\n")
    grouped = resolve("assessor-only", {"rollout.samples_per_prompt": 4, "data.path": "x.csv"})
    assert Kind.FLAT in kinds(store, run, 5, grouped)
    assert Kind.FLAT not in kinds(store, run, 5)


@pytest.mark.parametrize(("part", "whole", "least"), [(0, 0, 0.0), (4, 4, 0.5), (160, 160, 0.97), (80, 160, 0.42)])
def test_the_lower_end_of_a_share(part, whole, least):
    assert health.lower(part, whole) == pytest.approx(least, abs=0.01)
