"""The real engine, and a judge server that dies in the middle of its run; in one of them the attacker is trained alone."""

import sys
from pathlib import Path

import pytest
from test_jobs import launcher, settings, wait  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent.parent))

from conftest import free_port  # noqa: E402
from test_judge_http import Known, judge_server  # noqa: E402

from medical_team.types import Label  # noqa: E402

pytestmark = [pytest.mark.e2e, pytest.mark.engine]
MODEL = ("logit", "explain", "cache")


def begin(launcher, url: str, *words: str, **changes) -> str:  # noqa: F811
    judge = {"kind": "server", "url": url, "retries": 0, "most_failures": 3, "probe_share": 1.0}
    words = [word for key, value in judge.items() for word in ("--set", f"judge.{key}={value}")] + list(words)
    small = settings(train__steps=400, eval__steps=0, checkpoint__steps=0, **changes)
    refused, _, errors = launcher("run", "--preset", "cpu-demo", *small, *words)
    assert refused == 2 and "never checked" in errors
    code, begun, errors = launcher("run", "--preset", "cpu-demo", *small, *words, "--start-anyway")
    assert code == 0, errors
    return begun["id"]


def judged(launcher, id: str) -> list[dict]:  # noqa: F811
    """The verdicts that a model was asked for, oldest game first."""
    games = sorted(launcher("games", id)[1]["games"], key=lambda game: game["ended"])
    return [game["verdict"] for game in games if game["verdict"] and game["verdict"]["source"] in MODEL]


def reached(launcher, id: str, true) -> None:  # noqa: F811
    shown = wait(launcher, id, lambda shown: true())
    assert shown["state"] == "running", shown["reason"]


def count(launcher, id: str, reason: str) -> int:  # noqa: F811
    return sum(verdict["reason"] == reason for verdict in judged(launcher, id))


@pytest.fixture(scope="module")
def left_alone(launcher):  # noqa: F811
    """A run of the attacker alone whose judge died and came back, stopped afterwards; and its games."""
    port = free_port()
    with judge_server(Known(Label.HARMFUL), port=port) as url:
        id = begin(launcher, url, train__batch_size=8, custom_configs__no_defender_turn=True)
        reached(launcher, id, lambda: count(launcher, id, "ok") >= 3)
    reached(launcher, id, lambda: count(launcher, id, "failed") >= 4)
    before = count(launcher, id, "ok")
    with judge_server(Known(Label.HARMFUL), port=port):
        reached(launcher, id, lambda: count(launcher, id, "ok") >= before + 3 and launcher("show", id)[1]["step"])
        launcher("stop", id, "--now")
        shown = wait(launcher, id, lambda shown: False)
    assert shown["state"] == "stopped"
    return shown, launcher("games", id)[1]["games"]


def test_its_games_become_ties_and_the_judging_resumes_with_the_server(left_alone):
    shown, games = left_alone
    failed = [game for game in games if game["verdict"] and game["verdict"]["reason"] == "failed"]
    assert all(game["drop_reason"] == "tie: failed" for game in failed)
    verdicts = [game["verdict"] for game in failed]
    assert all(verdict["label"] is None and "cannot be reached" in verdict["rationale"] for verdict in verdicts)
    assert not [game for game in games if game["drop_reason"] == "tie: failed" and game not in failed]
    told = [event["text"] for event in shown["events"] if event["kind"] == "judge"]
    assert "3 times in a row" in told[0] and "answers again" in told[1]


def test_the_attacker_alone_is_trained_against_a_frozen_assessor(left_alone):
    shown, games = left_alone
    assert {game["category"].split("_")[0] for game in games} == {"adversarial"}
    assert all([turn["trained"] for turn in game["turns"]] == [True, False] for game in games)
    assert all(game["opponent"] != "self" for game in games)
    assert shown["metrics"]["rollout/num_samples"][0] == [1, 8.0]


def test_a_run_that_is_to_end_with_its_judge_ends_and_says_so(launcher):  # noqa: F811
    with judge_server(Known(Label.HARMFUL)) as url:
        id = begin(launcher, url, "--set", "judge.on_failure=stop")
        reached(launcher, id, lambda: count(launcher, id, "ok") >= 1)
    shown = wait(launcher, id, lambda shown: False)
    assert shown["state"] == "stopped" and "the judge failed 3 times in a row" in shown["reason"]
