"""The guide's reward function, loaded by its path and called as OpenRLHF 0.11.2 does."""

import importlib.util
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from test_game import CLEAN, REWORDED, sample, say

from medical_team import data, local_reward_function
from medical_team.agent_settings import AgentSettings
from medical_team.config import GameConfig
from medical_team.local_reward_function import reply_text
from medical_team.records import read_folder
from medical_team.render import render
from medical_team.scoring import NUMBERS
from medical_team.types import Category

END = "<|im_end|>"


class Tokenizer:
    """One id for each character, normalised as some tokenizers do it."""

    eos_token, pad_token = END, "<|endoftext|>"

    def encode(self, text, add_special_tokens):
        return list(map(ord, unicodedata.normalize("NFC", text)))

    def decode(self, ids):
        return "".join(map(chr, ids))

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        return (
            "".join(f"<|im_start|>{one['role']}\n{one['content']}{END}\n" for one in messages)
            + "<|im_start|>assistant\n"
        )


@pytest.fixture
def reward_func(tmp_path, monkeypatch):
    """A fresh module, as each rollout actor has one."""
    settings = AgentSettings(run="r1", games=tmp_path / "games", prompts_per_step=4, style="short")
    for name, value in settings.to_environment(GameConfig()).items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("reward_func", local_reward_function.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.reward_func


def rendered(tmp_path, samples, mode="train"):
    folder = tmp_path / "data"
    folder.mkdir(exist_ok=True)
    rows = data.rows(samples, mode)
    for name in ("train.jsonl", "eval.jsonl"):
        (folder / name).write_text("".join(data._line(row) + "\n" for row in rows))
    for _ in range(2):  # twice changes nothing
        render(folder, Tokenizer(), "short", cot=True)
    import json

    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    return [(line["input"], line["label"]) for line in lines]


def test_one_sample_at_a_time_as_openrlhf_calls_it(reward_func, tmp_path):
    samples = [sample(Category.VANILLA_HARMFUL), replace(sample(Category.VANILLA_BENIGN), id="s2")]
    rows = rendered(tmp_path, samples)
    replies = [say("Harmful"), say("Harmful")]
    answers = [
        reward_func([prompt + reply + END], [prompt], [label])
        for (prompt, label), reply in zip(rows, replies, strict=True)
    ]
    assert [answer["extra_logs"]["assessor_raw"] for answer in answers] == [2.0, 0.0]
    assert all(type(answer["rewards"]) is float and answer["rewards"] == answer["scores"] for answer in answers)
    assert all(tuple(answer["extra_logs"]) == NUMBERS for answer in answers)
    records = read_folder(tmp_path / "games")
    assert [(record.truth, record.turns[0].answer, record.turns[0].correct) for record in records] == [
        ("Harmful", "Harmful", True),
        ("Safe", "Harmful", False),
    ]
    assert records[0].turns[0].tokens is None


def test_the_guides_lists(reward_func, tmp_path):
    rows = rendered(tmp_path, [sample(Category.VANILLA_HARMFUL)]) * 3
    prompts, labels = [prompt for prompt, _ in rows], [label for _, label in rows]
    replies = [say("Harmful"), say("Safe"), "no tags"]
    answer = reward_func([p + r + END for p, r in zip(prompts, replies, strict=True)], prompts, labels)
    assert answer["extra_logs"]["assessor_raw"] == [2.0, 0.0, -2.0]
    assert len(answer["rewards"]) == 3


def test_an_evaluation_is_right_or_wrong(reward_func, tmp_path):
    ((prompt, label),) = rendered(tmp_path, [sample(Category.VANILLA_BENIGN)], "eval")
    assert reward_func([prompt + say("Safe") + END], [prompt], [label])["rewards"] == 1.0
    assert reward_func([prompt + say("Harmful") + END], [prompt], [label])["rewards"] == 0.0


def test_a_note_that_is_not_the_data_sets_own_is_judged(reward_func, tmp_path):
    kinds = (Category.ADVERSARIAL_BENIGN, Category.ADVERSARIAL_HARMFUL)
    clean, reworded = rendered(
        tmp_path, [replace(sample(kinds[0]), note=CLEAN), replace(sample(kinds[1]), note=REWORDED)]
    )
    known, tie = (reward_func([prompt + say("Safe") + END], [prompt], [label]) for prompt, label in (clean, reworded))
    assert known["extra_logs"]["assessor_raw"] == 2.0
    assert tie["rewards"] == tie["extra_logs"]["assessor_raw"] == 0.0
    records = read_folder(tmp_path / "games")
    assert [(record.truth, record.verdict.source, record.verdict.reason) for record in records] == [
        ("Safe", "match", "ok"),
        (None, "rule", "abstain"),
    ]


def test_a_prompt_that_openrlhf_has_cut_is_no_part_of_the_reply(reward_func, tmp_path):
    ((prompt, label),) = rendered(tmp_path, [sample(Category.VANILLA_BENIGN)])
    answer = reward_func([prompt[40:] + say("Safe") + END], [prompt], [label])
    assert answer["rewards"] == answer["extra_logs"]["assessor_raw"] == 0.0 and answer["extra_logs"]["dropped"] == 1.0
    (record,) = read_folder(tmp_path / "games")
    assert record.turns == () and "raise rollout.max_len" in record.drop_reason


def test_a_prompt_is_written_as_its_tokenizer_gives_it_back(tmp_path):
    note = CLEAN.replace("e", "e\u0301")
    ((prompt, _),) = rendered(tmp_path, [replace(sample(Category.VANILLA_BENIGN), note=note)])
    assert "\u00e9" in prompt and "\u0301" not in prompt


def test_calls_from_many_threads_are_each_written_down_once(reward_func, tmp_path):
    ((prompt, label),) = rendered(tmp_path, [sample(Category.VANILLA_BENIGN)])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: reward_func([prompt + say("Safe")], [prompt], [label]), range(40)))
    records = read_folder(tmp_path / "games")
    assert len({record.game for record in records}) == 40
    assert sorted(record.step for record in records) == sorted(list(range(1, 11)) * 4)


@pytest.mark.parametrize(
    ("query", "reply"),
    [("p x", " x"), (f"p x{END}", " x"), (f"p x{END}{END}", " x"), ("p", ""), (f"p x {END} y", f" x {END} y")],
)
def test_the_reply_is_what_follows_the_prompt(query, reply):
    assert reply_text(query, "p", (END, "<|endoftext|>")) == reply
    assert reply_text(query, "cut p", (END, "<|endoftext|>")) is None


def test_the_module_is_found_where_the_guide_has_it():
    assert Path(local_reward_function.__file__).parts[-2:] == ("medical_team", "local_reward_function.py")
