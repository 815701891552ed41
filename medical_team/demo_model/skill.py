"""What a demo model can do on held-out notes."""

import time
from pathlib import Path
from typing import NamedTuple

from medical_team.demo_model import THRESHOLD, Skill
from medical_team.demo_model.lessons import prompt
from medical_team.demo_world import cases, checks, compare, is_faithful, read_note
from medical_team.parsing import parse_label, parse_turn
from medical_team.types import ErrorType, Label, Role

HELD_OUT_SEED = 900_001
HELD_OUT_CASES = 100


class Held(NamedTuple):
    """A held-out note: as it stands, its truth, its clean twin and the kind of its case."""

    note: str
    truth: Label
    clean: str
    kind: ErrorType


def held_out(count: int = HELD_OUT_CASES, seed: int = HELD_OUT_SEED) -> list[Held]:
    """Both notes of each held-out case."""
    return [
        Held(note, truth, case.clean, case.error_types[0])
        for case in cases(count, seed)
        for note, truth in ((case.clean, Label.SAFE), (case.error, Label.HARMFUL))
    ]


def all_checks(model, tokenizer, notes: list[Held]) -> float:
    """Share of notes whose checks are exact up to the first "wrong", each check's first word being given.

    One forward pass: greedy writing reproduces a text exactly if every next token of it is the likeliest.
    """
    import torch

    right = 0
    for start in range(0, len(notes), 50):
        rows = [_check_rows(tokenizer, held) for held in notes[start : start + 50]]
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([ids + [tokenizer.pad_token_id] * (longest - len(ids)) for ids, _ in rows])
        with torch.no_grad():
            likeliest = model(input_ids=ids).logits.argmax(-1)
        for row, guess, (_, judged) in zip(ids, likeliest, rows, strict=True):
            right += all(row[i] == guess[i - 1] for i in judged)
    return right / len(notes)


def _check_rows(tokenizer, held: Held) -> tuple[list[int], list[int]]:
    """Ids of prompt and checks, and the positions that the model has to get right."""
    ids = tokenizer.encode(prompt(Role.ASSESSOR, held.note), add_special_tokens=False)
    judged = []
    for sentence, holds in checks(read_note(held.note)):
        said = tokenizer.encode(f" {sentence}", add_special_tokens=False)
        judged += range(len(ids) + 1, len(ids) + len(said))
        ids = ids + said
        if not holds:
            break
    return ids, judged


def generate(model, tokenizer, prompts: list[str], tokens: int, sampled: bool) -> list[tuple[str, bool]]:
    """Replies, and whether each ran into the limit of `tokens`."""
    import torch

    replies = []
    tokenizer.padding_side = "left"
    for start in range(0, len(prompts), 100):
        batch = tokenizer(prompts[start : start + 100], add_special_tokens=False, padding=True, return_tensors="pt")
        how = {"do_sample": True, "temperature": 1.0, "top_k": 0} if sampled else {"do_sample": False}
        with torch.no_grad():
            out = model.generate(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=tokens, **how
            )
        for row in out[:, batch["input_ids"].shape[1] :]:
            ended = tokenizer.eos_token_id in row
            replies.append((tokenizer.decode(row, skip_special_tokens=True), not ended))
    return replies


class Play(NamedTuple):
    """Rates of one way of writing: well-formed replies of both seats, and what came of them."""

    format: float
    assessor: float
    attacker_format: float
    attacker_faithful: float


def play(model, tokenizer, notes: list[Held], sampled: bool) -> Play:
    """Both seats on every note: the assessor reads it, the attacker is asked for another like it."""
    assessor = generate(model, tokenizer, [prompt(Role.ASSESSOR, held.note) for held in notes], 120, sampled)
    answers = [parse_turn(Role.ASSESSOR, text, cut) for text, cut in assessor]
    asked = [None if held.truth is Label.SAFE else held.kind for held in notes]
    tasks = [prompt(Role.ATTACKER, held.note, held.truth, kind) for held, kind in zip(notes, asked, strict=True)]
    rewrites = [parse_turn(Role.ATTACKER, text, cut) for text, cut in generate(model, tokenizer, tasks, 120, sampled)]
    return Play(
        format=sum(parsed.ok for parsed in answers + rewrites) / len(notes) / 2,
        assessor=sum(parse_label(a.answer) is held.truth for a, held in zip(answers, notes, strict=True)) / len(notes),
        attacker_format=sum(parsed.ok for parsed in rewrites) / len(notes),
        attacker_faithful=sum(
            parsed.ok and is_faithful(compare(held.clean, parsed.answer), kind)
            for parsed, held, kind in zip(rewrites, notes, asked, strict=True)
        )
        / len(notes),
    )


def measure(folder: Path, seed: int, steps: int, started: float, fingerprint: str) -> Skill:
    """Skill of the model as it was saved. `started` is on the monotonic clock."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer, notes = AutoTokenizer.from_pretrained(folder), held_out()
    torch.manual_seed(seed)
    greedy, sampled = play(model, tokenizer, notes, False), play(model, tokenizer, notes, True)
    return Skill(
        all_checks=all_checks(model, tokenizer, notes),
        format_greedy=greedy.format,
        format_sampled=sampled.format,
        assessor_greedy=greedy.assessor,
        assessor_sampled=sampled.assessor,
        attacker_format=sampled.attacker_format,
        attacker_faithful=sampled.attacker_faithful,
        threshold=THRESHOLD,
        seed=seed,
        steps=steps,
        seconds=round(time.monotonic() - started, 1),
        recipe=fingerprint,
    )
