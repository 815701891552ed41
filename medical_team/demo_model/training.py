"""The demo model and its warm start. Torch and transformers are imported where they are needed."""

import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count, islice

from medical_team.demo_model.lessons import Example, Recipe, examples
from medical_team.demo_model.skill import HELD_OUT_SEED, all_checks, held_out
from medical_team.demo_model.tokenizer import whole_words

VERDICTS = (" fine", " wrong")


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
    words = dict.fromkeys(whole_words(), recipe.fact_weight) | dict.fromkeys(VERDICTS, recipe.verdict_weight)
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
