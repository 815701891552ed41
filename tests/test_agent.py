"""The adapter to OpenRLHF, in the engine's interpreter, with a scripted model in vLLM's place."""

import os
from dataclasses import replace

import pytest
from engine_session import session
from test_game import CLEAN, REWORDED, sample, say

from launcher import engine
from medical_team import data
from medical_team.agent_settings import AgentSettings
from medical_team.config import GameConfig
from medical_team.records import read_folder
from medical_team.scoring import NUMBERS
from medical_team.types import Category

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def agent(engine_python, tmp_path_factory):
    env = os.environ | engine.environment("cpu", engine.find("cpu").versions)
    with session(engine_python, "tests/agent_session.py", env, tmp_path_factory.mktemp("agent") / "errors") as ask:
        yield ask


@pytest.fixture
def play(agent, tmp_path):
    """Plays rows with scripted replies; returns what OpenRLHF would get, and the records."""

    def played(samples, replies, mode="train", calls=2, config=GameConfig(), max_length=4000, **settings):
        rows = [{"input": row.input, "label": row.label, "calls": calls} for row in data.rows(samples, mode)]
        told = AgentSettings(run="r1", games=tmp_path, prompts_per_step=2, style="short", **settings)
        replies = {"attacker": [], "assessor": []} | replies
        asked = {"rows": rows, "replies": replies, "max_length": max_length, "environment": told.to_environment(config)}
        return agent(asked), read_folder(tmp_path)

    return played


def test_each_call_gets_its_own_seat_of_one_game(play):
    samples = [sample(Category.ADVERSARIAL_BENIGN), replace(sample(Category.VANILLA_BENIGN), id="s2")]
    result, records = play(samples, {"attacker": [say(CLEAN)], "assessor": [say("Harmful"), say("Safe"), say("Safe")]})
    (attacker, assessor), vanilla = result["trajectories"]
    assert len(records) == 2 and {record.step for record in records} == {1}
    assert (attacker["extra_logs"]["is_attacker"], assessor["extra_logs"]["is_assessor"]) == (1.0, 1.0)
    assert [one["extra_logs"]["is_assessor"] for one in vanilla] == [1.0, 1.0]
    for one in (attacker, assessor, *vanilla):
        (start, end), tokens = one["action_ranges"][0], one["observation_tokens"]
        assert "".join(map(chr, tokens[:start])).endswith("<think>")
        assert "".join(map(chr, tokens[start:])).endswith("</answer>") and end == len(tokens)
        assert one["rollout_log_probs"] == [0.0] * start + [-0.5] * (end - start)
        assert tuple(one["extra_logs"]) == NUMBERS
    assert result["params_kept"] and result["groups_left"] == 0
    rewards = {record.sample: [turn.sent_reward for turn in record.turns] for record in records}
    assert [one["reward"] for one in vanilla] == rewards["s2"]


def test_a_broken_engine_ends_no_run_and_is_written_down(play):
    result, records = play([sample(Category.VANILLA_BENIGN)], {"assessor": [None, say("Safe")]})
    assert records[0].drop_reason == "error: RuntimeError: the engine broke"
    for one in result["trajectories"][0]:
        assert (one["reward"], one["action_ranges"], one["extra_logs"]["dropped"]) == (0.0, [[1, 2]], 1.0)
        assert one["rollout_log_probs"] == [0.0, -7.0]  # the policy's own: a made up one looks like a dead weight sync


def test_a_prompt_without_room_for_a_reply_is_dropped_with_its_length(play):
    _, records = play([sample(Category.VANILLA_BENIGN)], {}, max_length=210)
    assert records[0].drop_reason.startswith("prompt too long: ")
    assert not records[0].turns


def test_a_tie_is_replayed_and_every_play_is_recorded(play):
    replies = {"attacker": [say(REWORDED), say(REWORDED), say(CLEAN)], "assessor": [say("Safe")] * 3}
    result, records = play([sample(Category.ADVERSARIAL_BENIGN)], replies)
    assert [record.drop_reason for record in records] == ["tie: abstain", "tie: abstain", None]
    assert result["trajectories"][0][0]["extra_logs"]["attacker_raw"] == records[2].turns[0].raw_reward


def test_a_tie_that_may_stay_is_played_once_and_pays_nothing(play):
    replies = {"attacker": [say(REWORDED)], "assessor": [say("Safe")]}
    config = GameConfig(remove_ties=False)
    result, records = play([sample(Category.ADVERSARIAL_BENIGN)], replies, config=config)
    assert [record.drop_reason for record in records] == [None]
    assert [one["reward"] for one in result["trajectories"][0]] == [0.0, 0.0]


def test_an_evaluation_gives_every_call_an_answer_of_its_own(play):
    replies = {"assessor": [say("Safe"), say("Harmful"), "nonsense"]}
    result, records = play([sample(Category.VANILLA_BENIGN)], replies, mode="eval", calls=3, start_step=4)
    assert [one["reward"] for one in result["trajectories"][0]] == [1.0, 0.0, 0.0]
    assert {(record.mode, record.step) for record in records} == {("eval", 4)}
