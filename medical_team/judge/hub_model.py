"""Loading a judge model and its tokenizer with transformers, and what its tokenizer makes of letters and marks."""

from typing import Literal, NamedTuple

from medical_team.judge.model_files import JudgeError

Precision = Literal["bf16", "8bit", "4bit", "fp32"]


class Loaded(NamedTuple):
    tokenizer: object
    model: object
    ends: list[int]
    """Tokens that end a reply; the first also pads."""


def load(name: str, precision: Precision, device) -> Loaded:
    """Errors: JudgeError for a model of another kind; whatever transformers raises.

    A causal model loads as one, anything else by transformers' table of image-text-to-text models.
    """
    import torch
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

    config = AutoConfig.from_pretrained(name)
    if any(one.endswith("ForCausalLM") for one in config.architectures or ()):
        kind = AutoModelForCausalLM
    elif type(config) in AutoModelForImageTextToText._model_mapping:
        kind = AutoModelForImageTextToText
    else:
        raise JudgeError(f"{name} is no causal and no image-text-to-text model: {config.architectures}")
    how: dict = {"dtype": torch.float32 if precision == "fp32" else torch.bfloat16}
    if precision in ("8bit", "4bit"):
        how["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_8bit=precision == "8bit", load_in_4bit=precision == "4bit",
            bnb_4bit_compute_dtype=torch.bfloat16, bnb_4bit_quant_type="nf4",
        )  # fmt: skip
        how["device_map"] = {"": device}
    model = kind.from_pretrained(name, attn_implementation="sdpa", **how)
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = (model if "device_map" in how else model.to(device)).eval()
    return Loaded(tokenizer, model, _quiet_generation(model, tokenizer))


def _quiet_generation(model, tokenizer) -> list[int]:
    """Greedy, with no compiling, whatever the model's own settings say. Returns its end tokens."""
    from transformers import GenerationConfig

    ends = model.generation_config.eos_token_id or tokenizer.eos_token_id
    ends = ends if isinstance(ends, list) else [ends or 0]
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=ends, pad_token_id=ends[0], cache_implementation="dynamic"
    )
    return ends


def variants(tokenizer, letter: str) -> list[int]:
    """Every single token that is the letter, with or without a space before it. Errors: JudgeError if there is none."""
    vocabulary = tokenizer.get_vocab()
    found = {vocabulary[text] for text in (letter, f"\u2581{letter}", f"\u0120{letter}") if text in vocabulary}
    for text in (letter, f" {letter}"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        found |= set(ids) if len(ids) == 1 else set()
    if not found:
        raise JudgeError(f"the model's tokenizer has no token for the letter {letter}: choose another model")
    return sorted(found)


def harmless(text: str, special: list[str]) -> str:
    """The text with a space inside whatever the tokenizer would take for a mark: no note can end the user's turn."""
    for token in special:
        text = text.replace(token, f"{token[:1]} {token[1:]}")
    return text


def begin_once(tokenizer, ids: list[int]) -> list[int]:
    """The ids with exactly one beginning token, if the model is used to one, however often the template wrote it."""
    begin = tokenizer.bos_token_id
    if begin is None:
        return ids
    wanted = tokenizer("a")["input_ids"][:1] == [begin] or ids[:1] == [begin]
    body = ids
    while body[:1] == [begin]:
        body = body[1:]
    return [begin, *body] if wanted else body
