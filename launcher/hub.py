"""Whether the engine could get a model from the Hugging Face hub: asked for one small file, for at most SECONDS."""

import os
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue

import httpx

from medical_team.judge.model_files import hub_cache, hub_home

SECONDS, KEPT_SECONDS = 3.0, 60.0
"""Longest wait for an answer; how long it is taken as it was."""


def refusal(model: str) -> str | None:
    """Why the engine could not get this model; None if it is cached already, or the hub gives it out."""
    if cached(model):
        return None
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        return f"{model} is not on this machine, and HF_HUB_OFFLINE forbids to download it"
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    return _ask(model, endpoint, token(), int(time.monotonic() / KEPT_SECONDS))


@lru_cache(maxsize=16)
def _ask(model: str, endpoint: str, token: str | None, moment: int) -> str | None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = _within(SECONDS, lambda: _head(f"{endpoint}/{model}/resolve/main/config.json", headers))
    if isinstance(answer, str):
        text = f"{model} is not on this machine and {endpoint} does not answer ({answer})"
        return f"{text}: go online, or give a local folder"
    return _refusal(model, endpoint, answer, bool(token))


def _head(url: str, headers: dict[str, str]) -> httpx.Response | str:
    """The answer, or why there is none."""
    try:
        return httpx.head(url, headers=headers, timeout=SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return str(error) or type(error).__name__


def _within(seconds: float, ask: Callable[[], httpx.Response | str]) -> httpx.Response | str:
    """What `ask` returns, if it does so in time: looking up a name has no time limit of its own."""
    answers: SimpleQueue = SimpleQueue()
    threading.Thread(target=lambda: answers.put(ask()), daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except Empty:
        return f"silent for {seconds:g} s"


def _refusal(model: str, endpoint: str, answer: httpx.Response, has_token: bool) -> str | None:
    if answer.headers.get("X-Error-Code") == "GatedRepo" or (answer.status_code == 403 and has_token):
        accept = f"{model} is behind a licence: accept it on {endpoint}/{model}"
        return f"{accept}, and export HF_TOKEN with a token of that account where the dashboard is started"
    if answer.status_code in (401, 403, 404):
        hint = "" if has_token else "; a private one needs HF_TOKEN"
        return f"{endpoint} has no model {model}{hint}: check the name"
    return f"{endpoint} answers {answer.status_code} for {model}: try later" if answer.status_code >= 400 else None


def cached(model: str) -> bool:
    """The hub's cache on this machine holds the model's config, and so most likely the rest."""
    return any((hub_cache() / f"models--{model.replace('/', '--')}" / "snapshots").glob("*/config.json"))


def token() -> str | None:
    """HF_TOKEN, or what `hf auth login` left on this machine, which the engine sends as well.

    The hub's own package would tell, too, but as the environment was when it was imported, and not every launcher has it.
    """
    named = Path(os.environ.get("HF_TOKEN_PATH") or hub_home() / "token").expanduser()
    given = os.environ.get("HF_TOKEN") or (named.read_text(encoding="utf-8") if named.is_file() else "")
    return given.strip() or None
