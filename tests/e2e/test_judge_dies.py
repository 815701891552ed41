"""The real engine, and a judge server that dies in the middle of its run."""

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


def begin(launcher, url: str, **changes) -> str:  # noqa: F811
    judge = {"kind": "server", "url": url, "retries": 0, "most_failures": 3, "probe_share": 1.0} | changes
    words = [word for key, value in judge.items() for word in ("--set", f"judge.{key}={value}")]
    small = settings(train__steps=400, eval__steps=0, checkpoint__steps=0)
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


def test_its_games_become_ties_and_the_judging_resumes_with_the_server(launcher, tmp_path):  # noqa: F811
    port = free_port()
    with judge_server(Known(Label.HARMFUL), port=port) as url:
        id = begin(launcher, url)
        reached(launcher, id, lambda: count(launcher, id, "ok") >= 3)
    reached(launcher, id, lambda: count(launcher, id, "failed") >= 4)
    before = count(launcher, id, "ok")
    with judge_server(Known(Label.HARMFUL), port=port):
        reached(launcher, id, lambda: count(launcher, id, "ok") >= before + 3)
        launcher("stop", id, "--now")
        shown = wait(launcher, id, lambda shown: False)
    assert shown["state"] == "stopped"
    failed = [verdict for verdict in judged(launcher, id) if verdict["reason"] == "failed"]
    assert all(verdict["label"] is None and "cannot be reached" in verdict["rationale"] for verdict in failed)
    ties = [game for game in launcher("games", id)[1]["games"] if (game["drop_reason"] or "") == "tie: failed"]
    assert len(ties) == len(failed)
    told = [event["text"] for event in shown["events"] if event["kind"] == "judge"]
    assert "3 times in a row" in told[0] and "answers again" in told[1]


def test_a_run_that_is_to_end_with_its_judge_ends_and_says_so(launcher):  # noqa: F811
    with judge_server(Known(Label.HARMFUL)) as url:
        id = begin(launcher, url, on_failure="stop")
        reached(launcher, id, lambda: count(launcher, id, "ok") >= 1)
    shown = wait(launcher, id, lambda shown: False)
    assert shown["state"] == "stopped" and "the judge failed 3 times in a row" in shown["reason"]
