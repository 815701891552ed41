"""The judge server: `python -m medical_team.judge.server --set model=google/medgemma-4b-it`. For the engine's interpreter.

Serves a judge to other machines or GPUs, its batches made of what all of them ask: POST /judge for this project's runs
(judge.kind server), POST /v1/chat/completions for whoever speaks OpenAI's protocol, POST /reward for OpenRLHF's
`--reward.remote_url`, GET /health. Loopback only, unless it is given a token.
"""

import argparse
import hmac
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Literal

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medical_team.config import GameConfig
from medical_team.judge import Judge, Question
from medical_team.judge.batcher import Batcher
from medical_team.judge.local_backend import LocalBackend
from medical_team.judge.model_files import JudgeError
from medical_team.judge.model_judge import ModelJudge
from medical_team.judge.remote_reward import Rewards, rewards
from medical_team.judge.settings import LOCAL, JudgeSettings
from medical_team.records import VerdictRecord

LOOPBACK = ("127.0.0.1", "::1", "localhost")
WRONG_INPUT = 2


class Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    clean: str
    error: str = ""
    note: str
    own_view: bool = False
    """Without comparison with the case's notes and without memory."""


class RewardsAsked(BaseModel):
    """As OpenRLHF 0.11.2 sends it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    query: tuple[str, ...]
    prompts: tuple[str, ...]
    labels: tuple[str, ...]


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    role: Literal["system", "user", "assistant"]
    content: str


class ChatAsked(BaseModel):
    """The part of OpenAI's chat completions that a judge is asked by. Replies are greedy, whatever the temperature."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    messages: tuple[Message, ...] = Field(min_length=1)
    max_tokens: int = Field(default=100, ge=1, le=1024)
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=20)


def application(judge: Judge, backend: LocalBackend | None, token: str | None, config: GameConfig) -> FastAPI:
    """`backend` has the chat route; a judge without a model has none."""
    app = FastAPI(title="Second Opinion judge", docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def only_with_the_token(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.headers.get("authorization", "").encode()
        if token and not hmac.compare_digest(given, f"Bearer {token}".encode()):
            return JSONResponse({"detail": "a token is needed: Authorization: Bearer …"}, 401)
        return await go_on(request)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"judge": judge.name}

    @app.post("/judge")
    async def verdict(asked: Asked) -> VerdictRecord:
        answer = judge.ask if asked.own_view else judge.judge
        return VerdictRecord.of(await answer(Question(asked.clean, asked.error, asked.note)))

    @app.post("/reward")
    async def reward(asked: RewardsAsked) -> Rewards:
        try:
            return await rewards(judge, config, asked.query, asked.prompts, asked.labels)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error

    if backend:
        _chat_routes(app, backend)
    return app


def _chat_routes(app: FastAPI, backend: LocalBackend) -> None:
    batcher = Batcher(lambda asked: _complete(backend, asked), backend.most, backend.wait)

    def rendered(asked: ChatAsked) -> list[int]:
        """Here and not with the batch, that one whose messages the model's template refuses spoils nobody else's."""
        try:
            return backend.model.chat_ids([(message.role, message.content) for message in asked.messages])
        except Exception as error:  # a template may raise anything
            raise HTTPException(422, f"the model's chat template refuses these messages: {error}") from error

    @app.get("/v1/models")
    async def models() -> dict:
        return {"object": "list", "data": [{"id": backend.name, "object": "model"}]}

    @app.post("/v1/chat/completions")
    async def chat(asked: ChatAsked) -> dict:
        return await batcher.ask((asked, rendered(asked)))


def _complete(backend: LocalBackend, batch: list[tuple[ChatAsked, list[int]]]) -> list[dict]:
    """One pass for all; who asked for less gets less of it."""
    model = backend.model
    most, top = (
        max(numbers) for numbers in zip(*[(one.max_tokens, one.top_logprobs) for one, _ in batch], strict=True)
    )
    made = model.complete([row for _, row in batch], most, top)
    answers = []
    for (one, row), completion in zip(batch, made, strict=True):
        tokens = completion.tokens[: one.max_tokens]
        text = completion.text if len(tokens) == len(completion.tokens) else model.tokenizer.decode(tokens)
        shown = [
            {"token": (said := model.tokenizer.decode([token])), "logprob": dict(place).get(token, place[-1][1]),
             "bytes": list(said.encode()),
             "top_logprobs": [{"token": model.tokenizer.decode([other]), "logprob": logprob}
                              for other, logprob in place[: one.top_logprobs]]}
            for token, place in zip(tokens, completion.likeliest, strict=False)
        ]  # fmt: skip
        finish = "length" if len(tokens) == one.max_tokens else "stop"
        answers.append({
            "id": f"chatcmpl-{uuid.uuid4().hex}", "object": "chat.completion", "created": int(time.time()),
            "model": backend.name,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish,
                         "logprobs": {"content": shown} if one.logprobs else None}],
            "usage": {"prompt_tokens": len(row), "completion_tokens": len(tokens),
                      "total_tokens": len(row) + len(tokens)},
        })  # fmt: skip
    return answers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8009)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the judge: model=…"
    )
    parser.add_argument("--custom-configs", default="{}", help="rules of the game for /reward, as JSON")
    asked = parser.parse_args()
    try:
        settings, config = _settings(asked.set), GameConfig.model_validate_json(asked.custom_configs)
        token = settings.token()
        if asked.host not in LOOPBACK and not token:
            raise JudgeError(
                f"{asked.host} is open to others: export a token and name it with --set token_variable=NAME"
            )
        judge = settings.load()
    except (JudgeError, ValidationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_INPUT
    backend = judge.backend if isinstance(judge, ModelJudge) and isinstance(judge.backend, LocalBackend) else None
    print(f"judge server: {judge.name} on http://{asked.host}:{asked.port}", flush=True)
    uvicorn.run(application(judge, backend, token, config), host=asked.host, port=asked.port, log_level="warning")
    return 0


def _settings(given: list[str]) -> JudgeSettings:
    values: dict = {"kind": LOCAL}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise JudgeError(f"--set takes KEY=VALUE, not {text!r}")
        try:
            values[key] = json.loads(value)
        except json.JSONDecodeError:
            values[key] = value
    return JudgeSettings.model_validate(values)


if __name__ == "__main__":
    sys.exit(main())
