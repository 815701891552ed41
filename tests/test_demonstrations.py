"""Demonstrations for a warm start: well-formed replies that are right about the notes that they answer."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from launcher import command, engine, prepare
from launcher.config import resolve
from launcher.rundir import RunDir
from medical_team import demo_world
from medical_team.demonstrations import demonstrations
from medical_team.parsing import parse_label, parse_reply
from medical_team.types import Case, ErrorType, Label

PAIR = Case("m", "He has gout. He was given colchicine. He went home.", "He has gout. He was given warfarin. He went home.",
            (ErrorType.MANAGEMENT,), "medec")  # fmt: skip


def of_seat(found, word: str):
    return [one for one in found if word in one.messages[0]["content"].lower()]


@pytest.mark.parametrize("style", ["full", "short"])
def test_of_the_demo_world_every_reply_parses_and_the_attacks_are_what_was_asked(style):
    cases = demo_world.cases(40, 5)
    found = demonstrations(cases, 160, 1, style)
    assert len(found) == 160 and found == demonstrations(cases, 160, 1, style)
    known = {case.clean: (case, Label.SAFE) for case in cases} | {case.error: (case, Label.HARMFUL) for case in cases}
    attacks: list[Label] = []
    for one in found:
        parsed = parse_reply(one.reply)
        assert parsed.ok, one.reply
        if (label := parse_label(parsed.answer)) is None:
            case, given = known[one.messages[1]["content"]]
            asked = case.error_types[0] if given is Label.HARMFUL else None
            attacks.append(given)
            assert demo_world.is_faithful(demo_world.compare(case.clean, parsed.answer), asked)
            rules = one.messages[0]["content"]
            assert ("holds an error" in rules or f"{asked} error" in rules) is (given is Label.HARMFUL)
        else:
            assert label in Label
    assert attacks == [Label.SAFE, Label.HARMFUL] * 40


def test_of_a_pair_the_error_is_found_quoted_and_kept():
    harmful, safe, attack, *_ = demonstrations([PAIR], 4, 1)
    assert parse_label(parse_reply(harmful.reply).answer) is Label.HARMFUL
    assert "He was given warfarin." in parse_reply(harmful.reply).thinking and "gout" not in harmful.reply
    assert parse_label(parse_reply(safe.reply).answer) is Label.SAFE and safe.messages[1]["content"] == PAIR.clean
    assert attack.messages[1]["content"] == PAIR.error and parse_reply(attack.reply).answer == PAIR.error


def test_an_attack_is_asked_for_a_kind_that_the_run_plays():
    either = replace(PAIR, error_types=(ErrorType.DOSAGE, ErrorType.CONTRAINDICATION))
    found = demonstrations([either], 60, 1, "short", kinds=(ErrorType.CONTRAINDICATION,))
    asked = {one.messages[0]["content"] for one in found if one.messages[0]["content"].startswith("Attack")}
    assert asked == {"Attack: write one contraindication error."}


def test_without_thinking_the_answer_stands_alone():
    harmful, _, attack, *_ = demonstrations([PAIR], 3, 1, "full", cot=False)
    assert harmful.reply == "Harmful" and parse_reply(attack.reply, cot=False).answer == PAIR.error


def run_config(**settings):
    return resolve("cpu-demo", {"warm_start.steps": 3, "warm_start.micro_batch_size": 32, "data.cases": 80} | settings)


def test_a_run_gets_exactly_its_rows_from_training_cases_alone(tmp_path):
    config = run_config()
    prepare.for_run(config, tmp_path / "data")
    rows = [json.loads(line) for line in (tmp_path / "data" / "warm-start.jsonl").read_text().splitlines()]
    held_out = (tmp_path / "data" / "eval.jsonl").read_text()
    assert len(rows) == 3 * 32
    assert not [row for row in rows if json.dumps(row["messages"][1]["content"])[1:-1] in held_out]


def test_the_command_warms_up_first_and_the_games_start_with_what_comes_out(tmp_path):
    python = Path("/engine/python")
    config, run = run_config(**{"train.frozen_share": 0.25}), RunDir(tmp_path / "20260101-000000-aaaa")
    job = command.build(command.Start(config, run), engine.Engine("cpu", python, {}))
    place = job.argv.index("--")
    assert job.argv[:3] == (str(python), "-m", "medical_team.warm_start")
    assert job.argv[place + 1 : place + 4] == (str(python), "-m", "openrlhf.cli.train_ppo_ray")
    after = job.argv[place:]
    assert after[after.index("--actor.model_name_or_path") + 1] == str(run.warm_start)
    assert f'"frozen_model":"{run.warm_start}"' in job.env["SECOND_OPINION"]
    plain = command.build(command.Start(run_config(**{"warm_start.steps": 0}), run), engine.Engine("cpu", python, {}))
    assert "--" not in plain.argv and "medical_team.warm_start" not in plain.argv


def test_what_cannot_be_warmed_up_is_refused():
    with pytest.raises(ValueError, match="on a cluster"):
        run_config(**{"cluster.ray_address": "http://head:8265"})
    with pytest.raises(ValueError, match="warm_start.micro_batch_size"):
        run_config(**{"warm_start.micro_batch_size": 5})
