"""Models of real shapes with random weights, and a tokenizer that fits them: for memory and speed where there is no hub.

    ENGINE_PYTHON bench/random_models.py SHAPE OUT NOTES.jsonl

Runs in the training engine. The tokenizer is learnt from the notes and the game's prompts; the vocabulary of the weights is
the real one, most of which no text ever uses. A random model never ends a reply: every one has the full length.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

PROMPTS = Path(__file__).resolve().parent.parent / "medical_team" / "prompts"
TOKENS = 4096
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def qwen(hidden: int, layers: int, heads: int, kv: int, between: int, vocabulary: int = 151936):
    """Qwen2.5, with the embeddings tied as in its models up to 3B."""
    shape = Qwen2Config(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv, intermediate_size=between, tie_word_embeddings=True, max_position_embeddings=32768,
    )  # fmt: skip
    return Qwen2ForCausalLM, shape


def gemma(hidden: int, layers: int, heads: int, kv: int, between: int):
    """The text part of Gemma 3, of which MedGemma has the shape."""
    shape = Gemma3TextConfig(
        vocab_size=262208, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv, head_dim=256, intermediate_size=between, max_position_embeddings=32768,
    )  # fmt: skip
    return Gemma3ForCausalLM, shape


SHAPES = {
    "tiny": lambda: qwen(64, 2, 2, 1, 256, TOKENS),
    "qwen2.5-0.5b": lambda: qwen(896, 24, 14, 2, 4864),
    "qwen2.5-1.5b": lambda: qwen(1536, 28, 12, 2, 8960),
    "qwen2.5-3b": lambda: qwen(2048, 36, 16, 2, 11008),
    "medgemma-4b": lambda: gemma(2560, 34, 8, 4, 10240),
}


def tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=TOKENS, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHAT
    )


def main(shape: str, out: Path, notes: Path) -> None:
    rows = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    words = tokenizer(
        [row["correct_note"] for row in rows] + [file.read_text(encoding="utf-8") for file in PROMPTS.rglob("*.txt")]
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    kind, config = SHAPES[shape]()
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = kind(config)
    for settings in (model.config, model.generation_config):
        settings.eos_token_id, settings.pad_token_id, settings.bos_token_id = (
            words.eos_token_id,
            words.pad_token_id,
            None,
        )
    model.save_pretrained(out)
    words.save_pretrained(out)
    print(f"{shape}: {sum(weight.numel() for weight in model.parameters()) / 1e9:.2f} billion parameters in {out}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
