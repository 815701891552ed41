"""The shape of a model: what its memory follows from. Read from config.json; the count of parameters from the weights."""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medical_team.judge.model_files import hub_cache

SHAPES = Path(__file__).parent / "model_shapes.json"
"""Models by hub name -> the lines of their config.json that count here; None of them has to be on this machine."""
MOST_HEAD = 100_000_000
"""Bytes of a safetensors file's head, by its format."""
DENSE = {"qwen2", "qwen3", "llama", "mistral", "gemma3_text"}
QK_NORMS, FOUR_NORMS, QKV_BIASES = {"qwen3", "gemma3_text"}, {"gemma3_text"}, {"qwen2"}


class UnknownShape(ValueError):
    """The model's shape cannot be told; the message says what to give."""


@dataclass(frozen=True)
class Shape:
    """Sizes in elements."""

    parameters: int
    layers: int
    hidden: int
    between: int
    """Width of the feed-forward part."""
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int

    @property
    def largest(self) -> int:
        """Parameters of the largest tensor, the embedding."""
        return self.vocabulary * self.hidden

    @property
    def cache_bytes(self) -> int:
        """Of keys and values in 16 bits, per token."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2

    @property
    def layer_bytes(self) -> int:
        """Activations inside one layer in 16 bits, per token."""
        return 2 * (8 * self.hidden + 4 * self.between)


def of_config(config: Mapping[str, Any]) -> Shape:
    """From the content of a config.json. Errors: UnknownShape for a model that is not of the DENSE kinds."""
    config = config.get("text_config", config)
    kind = config.get("model_type")
    if kind not in DENSE:
        raise UnknownShape(f"model_type {kind!r} is none of {', '.join(sorted(DENSE))}: its shape cannot be told")
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    shape = Shape(
        parameters=0,
        layers=config["num_hidden_layers"],
        hidden=hidden,
        between=config["intermediate_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or hidden // heads,
        vocabulary=config["vocab_size"],
    )
    tied = config.get("tie_word_embeddings", kind == "gemma3_text")
    return replace(shape, parameters=_parameters(shape, kind, tied))


def _parameters(shape: Shape, kind: str, tied: bool) -> int:
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = 2 * shape.hidden * queries + 2 * shape.hidden * keys
    attention += queries + 2 * keys if kind in QKV_BIASES else 0
    attention += 2 * shape.head_dim if kind in QK_NORMS else 0
    norms = (4 if kind in FOUR_NORMS else 2) * shape.hidden
    layer = attention + 3 * shape.hidden * shape.between + norms
    return shape.layers * layer + shape.hidden + shape.largest * (1 if tied else 2)


def of_model(name: str, cache: Path | None = None) -> Shape:
    """Of a local folder, of a model in the hub's cache, or of a known one. Errors: UnknownShape."""
    if Path(name).is_dir():
        return of_folder(Path(name))
    for found in sorted((cache or hub_cache()).glob(f"models--{name.replace('/', '--')}/snapshots/*/config.json")):
        return of_folder(found.parent)
    known = json.loads(SHAPES.read_text(encoding="utf-8"))
    if name not in known:
        raise UnknownShape(f"the shape of {name} is not known here: give a local folder, or one of {', '.join(known)}")
    return of_config(known[name])


def of_folder(folder: Path) -> Shape:
    """From config.json, and exact where the weights lie beside it. Errors: UnknownShape."""
    if not (folder / "config.json").is_file():
        raise UnknownShape(f"{folder} has no config.json: give the folder of a model")
    try:
        shape = of_config(json.loads((folder / "config.json").read_bytes()))
        counted = sum(_elements(file) for file in folder.glob("*.safetensors"))
    except (KeyError, TypeError, AttributeError, struct.error, json.JSONDecodeError, UnicodeDecodeError) as error:
        text = f"the files of {folder} cannot be read ({type(error).__name__}: {error})"
        raise UnknownShape(f"{text}: give the folder of a whole model") from error
    return replace(shape, parameters=counted) if counted else shape


def _elements(file: Path) -> int:
    """Elements of all tensors of a safetensors file. Its head is a length, 8 bytes, and that much JSON."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        head = json.loads(opened.read(min(length, MOST_HEAD)))
    return sum(math.prod(tensor["shape"]) for name, tensor in head.items() if name != "__metadata__")
