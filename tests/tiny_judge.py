"""Tiny judge models with random weights that do answer in letters. For the engine's interpreter.

The output layer's rows are zero but for the letters' and the end's: those are set so that probability falls on two letters
and then on the end, and on which of the letters differs from prompt to prompt.
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
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\n"
    "{{ message['content'] }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SPECIAL = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]
AFTER_BOTH = tuple(f"{meaning} {style}" for meaning in "ABCD" for style in "YN")
LIKELY = 12.0
"""Mean logit of a letter; every other token has 0."""
TEXT = {"hidden_size": 32, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 8192}  # fmt: skip


def tokenizer_of(texts: list[str], begins: bool = True):
    """Byte-level BPE; with `begins` a plain call puts <bos> first, as Gemma's does."""
    from tokenizers.processors import TemplateProcessing

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([*texts, " A B C D Y N" * 20], trainer)
    if begins:
        made.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>",
        additional_special_tokens=SPECIAL[3:], chat_template=GEMMA_TEMPLATE,
    )  # fmt: skip


def make(kind: str, folder: Path, prompts: list[str], window: int = 4096) -> Path:
    """kind: gemma3_text, gemma3 (image-text-to-text) or qwen2; float32. `prompts` are what it will be asked, or the like."""
    torch.manual_seed(7)
    tokenizer = tokenizer_of(prompts[:20], begins=kind != "qwen2")
    size = {**TEXT, "vocab_size": len(tokenizer), "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
            "tie_word_embeddings": False}  # fmt: skip
    if kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**size))
    elif kind == "gemma3_text":
        model = Gemma3ForCausalLM(Gemma3TextConfig(**size, head_dim=8, sliding_window=window))
    else:
        vision = SiglipVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
        text = Gemma3TextConfig(**size, head_dim=8, sliding_window=window)
        model = Gemma3ForConditionalGeneration(
            Gemma3Config(text_config=text, vision_config=vision, tie_word_embeddings=False)
        )
    for name, weights in model.named_parameters():
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=1.5 if ("q_proj" in name or "k_proj" in name) else 0.3)
    _teach_letters(model.eval(), tokenizer, prompts)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _teach_letters(model, tokenizer, prompts: list[str]) -> None:
    """Sets the rows of the output layer: a place's tokens are together likely there, each by itself after some prompts."""
    chats = [
        tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
        for text in prompts
    ]
    head = model.get_output_embeddings().weight
    torch.nn.init.zeros_(head)
    seen = [
        torch.stack([_hidden(model, tokenizer, [chat + text for chat in some]) for text in before])
        for before, some in ((("",), chats), (tuple("ABCD"), chats[:8]), (AFTER_BOTH, chats[:8]))
    ]
    means = torch.cat([states.mean(1) for states in seen])
    only_there = torch.linalg.pinv(means).T  # row i has the product 1 with mean i, and 0 with the others
    places = only_there.split([len(states) for states in seen])
    for tokens, states, own in zip(
        (("B", "D", "C", "A"), ("\u0120Y", "\u0120N"), ("<eos>",)), seen, places, strict=True
    ):
        here, around = own.sum(0), (states - states.mean(1, keepdim=True)).flatten(0, 1)
        apart = torch.linalg.svd(around).Vh[0]
        apart = apart - (means @ apart) @ only_there
        low, middle, high = (around @ apart).quantile(torch.tensor([0.25, 0.5, 0.75]))  # one prompt may be far off
        apart = (apart - middle * here) / (high - low)
        shares = torch.linspace(-2, 2, len(tokens)) if len(tokens) > 1 else [0.0]
        for token, share in zip(tokens, shares, strict=True):
            head.data[tokenizer.convert_tokens_to_ids(token)] = LIKELY * here + share * apart


def _hidden(model, tokenizer, texts: list[str]) -> torch.Tensor:
    """What the output layer sees at the end of each text."""
    with torch.inference_mode():
        return torch.stack([
            model(torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]]),
                  output_hidden_states=True, logits_to_keep=1).hidden_states[-1][0, -1]
            for text in texts
        ])  # fmt: skip
