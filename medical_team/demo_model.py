"""The demo model: a tokenizer, a tiny Qwen2 and a short supervised warm start, in the training engine's interpreter.

    ENGINE_PYTHON -m medical_team.demo_model --out DIR [--seed 0] [--threads 2]

The warm start teaches the format of both seats and the facts of the demo world. It goes by skill, not by time: made to
write all four checks of a note, the finished model must complete them exactly. Left alone it writes each check only now
and then, which is what reinforcement learning improves. Torch and transformers are imported where they are needed.
"""

import argparse
import hashlib
import json
import math
import os
import random
import re
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

from medical_team.demo_text import draw_layout
from medical_team.demo_world import (
    KINDS,
    NEEDS,
    Facts,
    broken,
    cases,
    checks,
    compare,
    damage,
    demonstrate_assessor,
    demonstrate_attacker,
    draw_facts,
    is_faithful,
    number,
    read_note,
    slots,
    write,
)
from medical_team.judge.rules import WORLD
from medical_team.parsing import TAGS, parse_label, parse_turn
from medical_team.prompts import OPENING, messages
from medical_team.types import ErrorType, Label, Role

ROOT = Path(__file__).parents[1]

SOURCES = (
    "data/demo_notes.json",
    "data/demo_world.json",
    "medical_team/demo_model.py",
    "medical_team/demo_text.py",
    "medical_team/demo_world.py",
    "medical_team/judge/rules.py",
    "medical_team/prompts.py",
    "medical_team/prompts/short/assessor.txt",
    "medical_team/prompts/short/attacker_benign.txt",
    "medical_team/prompts/short/attacker_harmful.txt",
)
"""What a model depends on, below the repository's root. A change in any of them makes an older model out of date."""

THRESHOLD = 0.95
"""Least share of held-out notes whose four checks are all exact, and least share of well-formed replies."""

HELD_OUT_SEED = 900_001
HELD_OUT_CASES = 100

DRILL = "Check every fact."
"""System text of the exercise that always writes all four checks. Used in the warm start only."""


class Shares(NamedTuple):
    """Shares of the examples; the rest are the assessor's."""

    attacker: float
    drill: float


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes the model and its warm start, apart from the seed."""

    layers: int = 2
    hidden: int = 128
    feed_forward: int = 256
    heads: int = 4
    vocabulary: int = 1280
    positions: int = 8192
    batch: int = 16
    matrix_rate: float = 8e-3
    """Learning rate of Muon, on the hidden matrices."""
    rate: float = 4e-3
    """Learning rate of AdamW, on the rest."""
    weight_decay: float = 0.05
    first: Shares = Shares(attacker=0.0, drill=1.0)
    """Kinds of example until the checks are understood: a verdict is learnt late, and from drills soonest."""
    then: Shares = Shares(attacker=0.45, drill=0.3)
    """Kinds of example while the learning rate falls."""
    diligence: float = 0.37
    """Probability of each check in an assessor's demonstration."""
    faulty: float = 0.15
    """Share of the attacker's demonstrations that are not what was asked."""
    break_rate: float = 0.3
    drill_break_rate: float = 0.5
    """Probability with which each fact of a note is broken, for the assessor and in a drill."""
    prompt_weight: float = 0.1
    fact_weight: float = 2.0
    verdict_weight: float = 8.0
    """Weights in the loss, where any other token of a reply has 1."""
    understood: float = 0.25
    """Mean loss of the verdict words over 50 steps at which the first part ends."""
    most_drilling: int = 2500
    """Steps of the first part at most."""
    falling: int = 900
    """Steps of the second part, in whose second half the learning rates fall to nothing."""
    enough: float = 0.97
    """Skill below which the second part is repeated."""
    most_falls: int = 3
    """Times that the second part is done at most."""


VERDICTS = (" fine", " wrong")


class Example(NamedTuple):
    prompt: str
    reply: str


class Held(NamedTuple):
    """A held-out note: as it stands, its truth, its clean twin and the kind of its case."""

    note: str
    truth: Label
    clean: str
    kind: ErrorType


@dataclass(frozen=True)
class Skill:
    """What the finished model can do on held-out notes, from 0 to 1; written to skill.json."""

    all_checks: float
    """Share of notes whose four checks, each begun for the model, are completed exactly up to the first "wrong"."""
    format_greedy: float
    format_sampled: float
    """Well-formed replies of both seats, at temperature 0 and 1."""
    assessor_greedy: float
    assessor_sampled: float
    """Right answers; an unreadable one is wrong."""
    attacker_format: float
    attacker_faithful: float
    """Attacker at temperature 1: well-formed replies, and rewrites that are what was asked."""
    threshold: float
    seed: int
    steps: int
    seconds: float
    recipe: str

    @property
    def enough(self) -> bool:
        return min(self.all_checks, self.format_greedy, self.format_sampled) >= self.threshold


def recipe_fingerprint(root: Path = ROOT) -> str:
    """Hash of the source files and tables that a model depends on."""
    digest = hashlib.sha256()
    for source in SOURCES:
        digest.update(source.encode() + b"\0" + (root / source).read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def check(folder: Path) -> str | None:
    """None if `folder` holds a demo model good enough to train. Otherwise the reason and what to do, in a sentence."""
    remedy = f"build it with ENGINE_PYTHON -m medical_team.demo_model --out {folder}"
    if not (folder / "skill.json").is_file():
        return f"{folder} holds no finished demo model; {remedy}."
    try:
        skill = Skill(**json.loads((folder / "skill.json").read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        return f"{folder / 'skill.json'} cannot be read ({error}); delete {folder} and {remedy}."
    missing = [name for name in ("config.json", "model.safetensors", "tokenizer.json") if not (folder / name).is_file()]
    if missing:
        return f"{folder} lacks {', '.join(missing)}; delete it and {remedy}."
    if skill.recipe != recipe_fingerprint():
        return f"{folder} was built from other demo tables or code than the present; delete it and {remedy}."
    if not skill.enough:
        return f"{folder} is less skilled than training needs ({_shortfall(skill)}); delete it and {remedy} --seed N."
    return None


def _shortfall(skill: Skill) -> str:
    return (
        f"all-checks accuracy {skill.all_checks:.3f}, format {skill.format_greedy:.3f} greedy and "
        f"{skill.format_sampled:.3f} sampled, each of which must be at least {skill.threshold:.2f}"
    )


# Demonstrations ------------------------------------------------------------------------------------------------------


def examples(rng: random.Random, recipe: Recipe, shares: Shares) -> Iterator[Example]:
    """Endless demonstrations: the attacker's, the drill's and the assessor's."""
    while True:
        lot = rng.random()
        if lot < shares.attacker:
            yield _attacker_example(rng, recipe)
        elif lot < shares.attacker + shares.drill:
            yield _drill_example(rng, recipe)
        else:
            yield _assessor_example(rng, recipe)


def _assessor_example(rng: random.Random, recipe: Recipe) -> Example:
    facts, note = _patient(rng, recipe.break_rate)
    return Example(prompt(Role.ASSESSOR, note), demonstrate_assessor(facts, rng, recipe.diligence))


def _drill_example(rng: random.Random, recipe: Recipe) -> Example:
    """All four checks, whatever they find."""
    facts, note = _patient(rng, recipe.drill_break_rate)
    written = " ".join(sentence for sentence, _ in checks(facts))
    said = [{"role": "system", "content": DRILL}, {"role": "user", "content": note}]
    return Example(_chat(said), f" {written} </think>")


def prompt(role: Role, note: str, intended: Label | None = None, asked: ErrorType | None = None) -> str:
    """The words that the model sees in a game, up to where its own begin."""
    return _chat(messages(role, note, intended, asked, style="short"))


def _chat(said: list[dict[str, str]]) -> str:
    turns = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in said)
    return f"{turns}<|im_start|>assistant\n{OPENING}"


CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _attacker_example(rng: random.Random, recipe: Recipe) -> Example:
    asked = rng.choice((None, None, *KINDS))
    facts = draw_facts(rng, NEEDS.get(asked))
    if asked is not None and rng.random() < 0.75:
        facts = damage(facts, asked, rng)
    note = write(facts, draw_layout(rng, slots(facts)))
    intended = Label.SAFE if asked is None else Label.HARMFUL
    return Example(prompt(Role.ATTACKER, note, intended, asked), demonstrate_attacker(facts, asked, rng, recipe.faulty))


def _patient(rng: random.Random, break_rate: float) -> tuple[Facts, str]:
    facts = _break_some(draw_facts(rng), rng, break_rate)
    return facts, write(facts, draw_layout(rng, slots(facts)))


def _break_some(facts: Facts, rng: random.Random, rate: float) -> Facts:
    for kind in rng.sample(KINDS, len(KINDS)):
        possible = kind not in NEEDS or getattr(facts, NEEDS[kind]) is not None
        if possible and kind not in broken(facts) and rng.random() < rate:
            facts = damage(facts, kind, rng)
    return facts


def held_out(count: int = HELD_OUT_CASES, seed: int = HELD_OUT_SEED) -> list[Held]:
    """Both notes of each held-out case."""
    return [
        Held(note, truth, case.clean, case.error_types[0])
        for case in cases(count, seed)
        for note, truth in ((case.clean, Label.SAFE), (case.error, Label.HARMFUL))
    ]


# Tokenizer and model -------------------------------------------------------------------------------------------------

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How transformers splits text for `model_type: qwen2`, whatever a saved tokenizer says."""


def build_tokenizer(folder: Path, recipe: Recipe):
    """Train and save the tokenizer; returned as every later loader will see it.

    Raises RuntimeError if loading it again changes a single id.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config

    texts, whole_words = _corpus(), _whole_words()
    raw = Tokenizer(models.BPE())
    raw.normalizer = normalizers.NFC()
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary - len(TAGS) - len(whole_words),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    between = re.compile("|".join(map(re.escape, sorted((*TAGS, *whole_words), key=len, reverse=True))))
    raw.train_from_iterator((part for text in texts for part in between.split(text)), trainer)
    raw.add_tokens([AddedToken(tag, lstrip=tag != OPENING, normalized=False) for tag in TAGS])
    raw.add_tokens([AddedToken(word, normalized=False) for word in whole_words])
    PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=recipe.positions,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    Qwen2Config(vocab_size=recipe.vocabulary).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in texts[-400:]:
        if tokenizer.encode(text, add_special_tokens=False) != raw.encode(text, add_special_tokens=False).ids:
            raise RuntimeError(f"the saved tokenizer reads {text!r} differently once it is loaded again")
    return tokenizer


def _corpus() -> list[str]:
    """Prompts and replies of every kind, and the words that chat prompts need."""
    some = islice(examples(random.Random(1), Recipe(), Recipe.then), 8000)
    return ["system user assistant"] * 2000 + [text for example in some for text in example]


def _whole_words() -> list[str]:
    """Names of the facts, doses (usual or slipped by a factor of ten) and ages: one token each, the space included.

    With names in pieces the model takes several times as many steps to learn to copy and compare them.
    """
    names = {name for wordings in WORLD.names.values() for name in wordings.values()}
    doses = {number(dose * slip) for row in WORLD.doses_mg.values() for dose in row for slip in (0.1, 1, 10)}
    return sorted(f" {text}" for text in names | doses | {str(age) for age in WORLD.ages})


def build_model(tokenizer, recipe: Recipe):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.positions,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        attn_implementation="sdpa",
    )
    return Qwen2ForCausalLM(config)


# Warm start ----------------------------------------------------------------------------------------------------------


def warm_start(model, tokenizer, recipe: Recipe, seed: int, report: Callable[[str], None]) -> int:
    """Drill until the checks are understood, then teach both seats while the learning rates fall.

    Returns the steps taken.
    """
    rng = random.Random(seed)
    first, then = (encoded(tokenizer, examples(rng, recipe, shares)) for shares in (recipe.first, recipe.then))
    optimizers = _optimizers(model, recipe)
    emphasis = _emphasis(tokenizer, recipe)
    probe = held_out(60, HELD_OUT_SEED + 1)
    losses: deque[float] = deque(maxlen=50)
    falling_since, falls, spoken = None, 1, 0.0
    for step in count():
        loss = sum(losses) / len(losses) if losses else math.inf
        if falling_since is None and (loss < recipe.understood or step == recipe.most_drilling):
            falling_since = step
        fallen = 0 if falling_since is None else step - falling_since
        if fallen == recipe.falling:
            if falls == recipe.most_falls or all_checks(model, tokenizer, probe) >= recipe.enough:
                return step
            falling_since, fallen, falls = step, 0, falls + 1
        if time.monotonic() - spoken >= 1:
            spoken = time.monotonic()
            last = recipe.falling + (recipe.most_drilling if falling_since is None else falling_since)
            report(f"progress {step / last:.2f} step {step} verdict_loss {loss:.3f}")
        _set_rates(optimizers, min((step + 1) / 20, 1, 2 - 2 * fallen / recipe.falling))
        rows = list(islice(first if falling_since is None else then, recipe.batch))
        losses.append(_learn(model, optimizers, *collate(rows, tokenizer.pad_token_id, emphasis, recipe), recipe))


def _learn(model, optimizers, ids, weights, recipe: Recipe) -> float:
    """One step of every optimizer; returns the mean loss of the verdict words."""
    import torch

    states = model.model(input_ids=ids[:, :-1]).last_hidden_state.flatten(0, 1)
    told = weights[:, 1:].flatten().nonzero()[:, 0]
    targets, weights = ids[:, 1:].flatten()[told], weights[:, 1:].flatten()[told]
    each = torch.nn.functional.cross_entropy(model.lm_head(states[told]), targets, reduction="none")
    (each * weights).sum().div(weights.sum()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return each.detach()[weights == recipe.verdict_weight].mean().item()


def _set_rates(optimizers, factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def encoded(tokenizer, lessons: Iterator[Example]) -> Iterator[tuple[list[int], list[int]]]:
    """Ids of prompt and reply, the reply closed by the end token."""
    while True:
        some = [next(lessons) for _ in range(256)]
        prompts = tokenizer([lesson.prompt for lesson in some], add_special_tokens=False)["input_ids"]
        replies = tokenizer([lesson.reply for lesson in some], add_special_tokens=False)["input_ids"]
        for asked, said in zip(prompts, replies, strict=True):
            yield asked, [*said, tokenizer.eos_token_id]


def _emphasis(tokenizer, recipe: Recipe) -> dict[int, float]:
    """Weight in the loss of the tokens that matter most: names and numbers of the facts, and the verdicts on them."""
    words = dict.fromkeys(_whole_words(), recipe.fact_weight) | dict.fromkeys(VERDICTS, recipe.verdict_weight)
    return {tokenizer.encode(word, add_special_tokens=False)[0]: weight for word, weight in words.items()}


def collate(rows, pad: int, emphasis: dict[int, float], recipe: Recipe):
    """Ids and the weight of each token in the loss, both (rows, longest)."""
    import torch

    longest = max(len(asked) + len(said) for asked, said in rows)
    ids = torch.full((len(rows), longest), pad)
    weights = torch.zeros(len(rows), longest)
    for i, (asked, said) in enumerate(rows):
        end = len(asked) + len(said)
        ids[i, :end] = torch.tensor([*asked, *said])
        weights[i, 1 : len(asked)] = recipe.prompt_weight
        weights[i, len(asked) : end] = torch.tensor([emphasis.get(token, 1.0) for token in said])
    return ids, weights


def _optimizers(model, recipe: Recipe):
    import torch

    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(
            hidden, lr=recipe.matrix_rate, weight_decay=recipe.weight_decay, ns_steps=4, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(rest, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


# Measuring -----------------------------------------------------------------------------------------------------------


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


# Command line --------------------------------------------------------------------------------------------------------


def build(out: Path, seed: int, threads: int, recipe: Recipe, report: Callable[[str], None]) -> Skill:
    """Build in a folder beside `out` and move it there if the model is skilled enough, in place of what stood there."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # on a busy machine threads that spin as they wait cost tenfold
    import torch

    started, fingerprint = time.monotonic(), recipe_fingerprint()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        folder = Path(scratch) / "model"
        report("progress 0.00 tokenizer")
        tokenizer = build_tokenizer(folder, recipe)
        model = build_model(tokenizer, recipe)
        steps = warm_start(model, tokenizer, recipe, seed, report)
        model.to(torch.bfloat16).save_pretrained(folder)
        report("progress 1.00 measuring")
        skill = measure(folder, seed, steps, started, fingerprint)
        (folder / "skill.json").write_text(json.dumps(asdict(skill), indent=2) + "\n", encoding="utf-8")
        if skill.enough:
            if out.exists():
                out.rename(Path(scratch) / "replaced")
            folder.rename(out)
    return skill


def main(arguments: list[str] | None = None, recipe: Recipe | None = None) -> int:
    """Returns the exit code: 0 with a finished model in its place, 1 where its skill was too low to keep it."""
    parser = argparse.ArgumentParser(prog="python -m medical_team.demo_model", description="Build the demo model.")
    parser.add_argument("--out", type=Path, required=True, help="folder that the finished model is moved to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    args = parser.parse_args(arguments)
    skill = build(args.out, args.seed, args.threads, recipe or Recipe(), lambda line: print(line, flush=True))
    print(json.dumps(asdict(skill)), flush=True)
    if not skill.enough:
        print(f"The model is not skilled enough to train: {_shortfall(skill)}. Try another --seed.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
