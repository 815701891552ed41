"""Tiny judge models with random weights that do answer in letters. For the engine's interpreter.

The rows of the output layer that belong to the letters are large, all others are zero: the model's probability falls on
letters, and which of them differs from prompt to prompt.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipVisionConfig,
)

GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\n{{ message['content'] }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SPECIAL = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]
TEXT = {"hidden_size": 32, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 8192}  # fmt: skip


def tokenizer_of(texts: list[str], begins: bool = True):
    """Byte-level BPE; with `begins` a plain call puts <bos> first, as Gemma's does."""
    from tokenizers.processors import TemplateProcessing

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([*texts, " A B C Y N" * 20], trainer)
    if begins:
        made.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>",
        additional_special_tokens=SPECIAL[3:], chat_template=GEMMA_TEMPLATE,
    )  # fmt: skip


def make(kind: str, folder: Path, texts: list[str], window: int = 4096, strength: float = 12.0) -> Path:
    """kind: gemma3_text, gemma3 (image-text-to-text) or qwen2. float32."""
    torch.manual_seed(7)
    tokenizer = tokenizer_of(texts, begins=kind != "qwen2")
    size = {**TEXT, "vocab_size": len(tokenizer), "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
            "tie_word_embeddings": False}  # fmt: skip
    if kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**size))
    elif kind == "gemma3_text":
        model = Gemma3ForCausalLM(Gemma3TextConfig(**size, head_dim=8, sliding_window=window))
    else:
        vision = SiglipVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
        text = Gemma3TextConfig(**size, head_dim=8, sliding_window=window)
        model = Gemma3ForConditionalGeneration(Gemma3Config(text, vision, tie_word_embeddings=False))
    for layer in model.parameters():
        torch.nn.init.normal_(layer, std=0.4)
    head = model.get_output_embeddings().weight
    torch.nn.init.zeros_(head)
    letters = [tokenizer.convert_tokens_to_ids(letter) for letter in ("A", "B", "C", "ĠY", "ĠN", "Y", "N")]
    with torch.no_grad():
        head[letters] = torch.randn(len(letters), TEXT["hidden_size"]) * strength
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
