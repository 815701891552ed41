"""What can be told of a judge model before it is loaded, from its files alone."""

import hashlib
import json
import math
import os
from pathlib import Path

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
BYTES = {"bf16": 2.0, "8bit": 1.0, "4bit": 0.6, "fp32": 4.0}
"""A parameter in memory. 4bit: half a byte, its scales, and the embeddings that stay as they are."""
MOST_HEAD = 100_000_000
"""Bytes of a safetensors file's list of tensors, by its format."""
ENDS = ("ForCausalLM", "ForConditionalGeneration", "ForImageTextToText")


class JudgeError(RuntimeError):
    """A judge that cannot be had or used. The message says why, and what to do."""


def load_error(model: str, error: Exception) -> JudgeError:
    """What went wrong while the model was loaded, in words that help."""
    if isinstance(error, JudgeError):
        return error
    text = f"{type(error).__name__}: {error}".strip()
    if "OutOfMemory" in type(error).__name__ or "out of memory" in text.lower():
        what = "does not fit in memory: lower memory.vllm_share, load it in 4bit, or run it elsewhere with judge.kind server"
    elif "gated" in text.lower() or "awaiting a review" in text.lower():
        what = "is behind a licence: accept it on the hub, and export HF_TOKEN with a token of that account"
    elif "bitsandbytes" in text.lower():
        what = "needs the package bitsandbytes for 8bit and 4bit: install it in the engine, or choose bf16"
    elif isinstance(error, OSError):
        what = "cannot be had: give a local folder, or go online and check the name"
    else:
        what = "cannot be loaded"
    return JudgeError(f"{model} {what} ({text[:500]})")


def hub_home() -> Path:
    """The folder of the Hugging Face hub's client on this machine, as that client finds it."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HF_HOME") or Path(cache, "huggingface")).expanduser()


def hub_cache() -> Path:
    """Where it keeps models."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(named or hub_home() / "hub").expanduser()


def folder(model: str) -> Path | None:
    """Where the model's files are on this machine: the folder itself, or its newest snapshot in the hub's cache."""
    if Path(model).is_dir():
        return Path(model)
    found = (hub_cache() / f"models--{model.replace('/', '--')}" / "snapshots").glob("*/config.json")
    return max((path.parent for path in found), key=lambda path: path.stat().st_mtime, default=None)


def refusal(model: str) -> str | None:
    """Why this model cannot be a local judge, as far as its files on this machine tell; None if nothing is against it."""
    place = folder(model)
    if place is None:
        return None
    missing = [name for name in ("config.json", "tokenizer_config.json") if not (place / name).is_file()]
    if missing:
        return f"{place} lacks {', '.join(missing)}: give the folder of a whole model"
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        names = [str(name) for name in config.get("architectures") or ()]
        encoder_decoder = bool(config.get("is_encoder_decoder"))
    except (ValueError, AttributeError):
        return f"{place / 'config.json'} is no model's config: give the folder of a whole model"
    if encoder_decoder or not any(name.endswith(ENDS) for name in names):
        return f"{model} is {' '.join(names) or 'of no known architecture'}; a judge is a causal or image-text-to-text model"
    if not any(any(place.glob(pattern)) for pattern in WEIGHTS):
        return f"{place} has no weights: give the folder of a whole model"
    return None


def memory_bytes(model: str, precision: str) -> float | None:
    """What the weights take once loaded; None for a model that is not on this machine."""
    place = folder(model)
    if place is None:
        return None
    whole = sorted(place.glob("*.safetensors"))
    if parts := [file for file in whole if file.name.startswith("model")] or whole:  # some repeat it in another layout
        parameters = sum(map(_parameters, parts))
    else:
        parameters = sum(file.stat().st_size / 2 for file in place.glob("pytorch_model*.bin"))
    return parameters * BYTES[precision] or None


def _parameters(file: Path) -> float:
    """By the file's own list of tensors; where that cannot be read, by its size, as if it were of 16 bits."""
    try:
        with file.open("rb") as opened:
            head = json.loads(opened.read(min(int.from_bytes(opened.read(8), "little"), MOST_HEAD)))
        return sum(math.prod(tensor["shape"]) for name, tensor in head.items() if name != "__metadata__")
    except (ValueError, TypeError, KeyError, AttributeError):
        return file.stat().st_size / 2


def weights_mark(model: str) -> str:
    """Tells one version of a model from another: by names, sizes and both ends of its files of weights."""
    place = folder(model)
    if place is None:
        return model
    mark = hashlib.sha256()
    files = [place / "config.json", place / "tokenizer.json"]
    for path in sorted(files + [file for pattern in WEIGHTS for file in place.glob(pattern)]):
        if path.is_file():
            mark.update(f"{path.name} {path.stat().st_size}".encode())
            with path.open("rb") as file:
                mark.update(file.read(2**20))
                file.seek(-min(2**20, path.stat().st_size), os.SEEK_END)
                mark.update(file.read())
    return mark.hexdigest()
