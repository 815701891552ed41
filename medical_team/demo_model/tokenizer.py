"""The demo model's tokenizer: byte-level BPE as transformers reads it for Qwen2, with whole words for the world's facts."""

import random
import re
from itertools import islice
from pathlib import Path

from medical_team.demo_model.lessons import Recipe, examples
from medical_team.demo_world import number
from medical_team.judge.rules import WORLD
from medical_team.parsing import TAGS
from medical_team.prompts import OPENING

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


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

    texts, words = _corpus(), whole_words()
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
        vocab_size=recipe.vocabulary - len(TAGS) - len(words),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    between = re.compile("|".join(map(re.escape, sorted((*TAGS, *words), key=len, reverse=True))))
    raw.train_from_iterator((part for text in texts for part in between.split(text)), trainer)
    raw.add_tokens([AddedToken(tag, lstrip=tag != OPENING, normalized=False) for tag in TAGS])
    raw.add_tokens([AddedToken(word, normalized=False) for word in words])
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


def whole_words() -> list[str]:
    """Names of the facts, doses (usual or slipped by a factor of ten) and ages: one token each, the space included.

    With names in pieces the model takes several times as many steps to learn to copy and compare them.
    """
    names = {name for wordings in WORLD.names.values() for name in wordings.values()}
    doses = {number(dose * slip) for row in WORLD.doses_mg.values() for dose in row for slip in (0.1, 1, 10)}
    return sorted(f" {text}" for text in names | doses | {str(age) for age in WORLD.ages})
