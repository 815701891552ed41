"""What can be told of a judge model before it is loaded, from its files alone."""

import json
from pathlib import Path

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


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
