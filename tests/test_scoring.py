import asyncio
import tracemalloc
from pathlib import Path

import pytest
from test_game import CLEAN, REWORDED, FixedJudge, Scripted, sample, say, table

from medical_team.agent_settings import AgentSettings
from medical_team.game import assess, play
from medical_team.records import GameLog, GameRecord, read_folder, stream
from medical_team.scoring import NUMBERS, Bookkeeper, numbers
from medical_team.types import Category, Label, Role

SETTINGS = AgentSettings(run="r1", games=Path("games"), prompts_per_step=2)


def books(remove_ties=True, **settings) -> Bookkeeper:
    return Bookkeeper(SETTINGS.model_copy(update=settings), remove_ties)


def won() -> object:
    judge = FixedJudge(Label.SAFE, same_meaning=True)
    players = table(Scripted(say(REWORDED)), Scripted(say("Harmful")), judge)
    return asyncio.run(play(players, sample(Category.ADVERSARIAL_BENIGN)))


def tie() -> object:
    players = table(Scripted(say(REWORDED)), Scripted(say("Safe")))
    return asyncio.run(play(players, sample(Category.ADVERSARIAL_HARMFUL)))


def test_a_record_holds_the_whole_game():
    record = books().record(won(), "train", 3, 10.0, 12.5)
    attacker, assessor = record.turns
    assert (record.run, record.step, record.mode, record.opponent) == ("r1", 3, "train", "self")
    assert (record.seed_note, record.clean_note, record.note) == (CLEAN, CLEAN, REWORDED)
    assert (record.truth, record.valid, record.drop_reason) == (Label.SAFE, True, None)
    assert (attacker.role, attacker.thinking, attacker.answer, attacker.raw) == (
        Role.ATTACKER, "I have thought.", REWORDED, say(REWORDED),
    )  # fmt: skip
    assert attacker.rewards == {"format": 1.0, "faithful": 0.5, "deception": 1.0} and attacker.raw_reward == 2.5
    assert (assessor.answer, assessor.correct, assessor.raw_reward) == ("Harmful", False, 0.0)
    assert record.verdict.judge == "fixed-1" and record.verdict.valid and record.verdict.faithful
    assert record.attack_verdict is None


def test_the_reward_that_is_sent_is_the_raw_one_minus_its_roles_baseline():
    desk = books()
    desk.record(won(), "train", 1, 0, 1)
    second = desk.record(tie_broken(), "train", 1, 1, 2)
    attacker, assessor = second.turns
    assert (attacker.baseline, attacker.sent_reward) == (2.5, attacker.raw_reward - 2.5)
    assert (assessor.baseline, assessor.sent_reward) == (0.0, 2.0)


def tie_broken():
    judge = FixedJudge(Label.SAFE, same_meaning=True)
    players = table(Scripted(say(REWORDED)), Scripted(say("Safe")), judge)
    return asyncio.run(play(players, sample(Category.ADVERSARIAL_BENIGN)))


@pytest.mark.parametrize(("remove", "reason"), [(True, "tie: abstain"), (False, None)])
def test_a_tie_pays_exactly_nothing_and_teaches_the_baseline_nothing(remove, reason):
    desk = books(remove_ties=remove)
    record = desk.record(tie(), "train", 1, 0, 1)
    assert record.drop_reason == reason and not record.valid
    assert [(turn.raw_reward, turn.sent_reward, turn.correct) for turn in record.turns] == [(0, 0, None), (0, 0, None)]
    assert desk.record(won(), "train", 1, 1, 2).turns[0].sent_reward == 0.0


def test_an_evaluation_is_sent_as_right_or_wrong_and_moves_no_baseline():
    desk = books()
    game = asyncio.run(assess(table(assessor=Scripted(say("Harmful"))), sample(Category.VANILLA_HARMFUL)))
    assert desk.record(game, "eval", 0, 0, 1).turns[0].sent_reward == 1.0
    assert desk.record(game, "train", 1, 1, 2).turns[0].baseline == 2.0


def test_steps_are_counted_in_prompts_and_go_on_after_a_resume():
    desk = books(start_step=5)
    modes = ["eval", "train", "train", "eval", "train", "train", "train", "eval"]
    assert [desk.step_of(mode) for mode in modes] == [5, 6, 6, 6, 7, 7, 8, 7]


def test_replayed_records_bring_the_baseline_back():
    first = books()
    records = [first.record(won(), "train", step, step, step + 0.5) for step in (1, 1, 2, 3)]
    resumed = books(start_step=2, attempt=2)
    resumed.replay(records)
    expected = books()
    for _ in range(3):
        expected.record(won(), "train", 1, 0, 1)
    game = tie_broken()
    assert (
        resumed.record(game, "train", 3, 9, 9).turns[1].baseline
        == expected.record(game, "train", 3, 9, 9).turns[1].baseline
    )


def test_numbers_have_the_same_keys_for_every_sample_and_are_floats():
    desk = books()
    record, dropped = desk.record(won(), "train", 1, 0, 1), desk.record(tie(), "train", 1, 0, 1)
    broken = desk.broken(sample(Category.VANILLA_BENIGN), "train", 1, 0, 1, "error: ValueError: x")
    rows = [numbers(record, turn) for turn in record.turns] + [
        numbers(dropped, dropped.turns[0]),
        numbers(broken, None),
    ]
    assert all(tuple(row) == NUMBERS and all(type(value) is float for value in row.values()) for row in rows)
    assert (rows[0]["attacker_raw"], rows[0]["assessor_raw"], rows[1]["is_assessor"]) == (2.5, 0.0, 1.0)
    assert rows[2] == rows[3] == dict.fromkeys(NUMBERS, 0.0) | {"dropped": 1.0}


def test_the_log_holds_one_line_a_game_whatever_the_text(tmp_path):
    log, desk = GameLog(tmp_path / "games", "1-77"), books()
    odd = "line\u2028sep\u2029 \x00 \x85 </script> {x} \U0001f600 \r\n end"
    records = [desk.record(won(), "train", 1, 0, 1).model_copy(update={"note": odd, "game": str(n)}) for n in range(3)]
    for record in records:
        log.append(record)
    assert (tmp_path / "games" / "1-77.jsonl").read_bytes().count(b"\n") == 3
    assert read_folder(tmp_path / "games") == records
    assert GameRecord.model_validate_json(records[0].model_dump_json()).note == odd


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    log = GameLog(tmp_path, "1-1")
    log.append(books().record(won(), "train", 1, 0, 1))
    with log.path.open("a") as file:
        file.write('{"run": "r1", "ga')
    assert len(read_folder(tmp_path)) == 1
    log.append(books().record(won(), "train", 1, 0, 2))  # a full disk cut the one before, and the same process goes on
    assert len(read_folder(tmp_path)) == 2


def test_a_resume_holds_no_more_than_one_game_at_a_time(tmp_path):
    log, desk = GameLog(tmp_path, "1-1"), books()
    record = desk.record(won(), "train", 1, 0, 1).model_copy(update={"note": "x" * 100_000})
    for number in range(100):
        log.append(record.model_copy(update={"game": str(number)}))
    tracemalloc.start()
    books(start_step=1).replay(stream(tmp_path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
