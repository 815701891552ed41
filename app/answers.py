"""Endpoints beside Gradio's for what every open page asks again and again: who may ask what, and one answer for all.

Gradio's own way to a function of the page costs several times as much.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.login import logged_in

Asked = TypeVar("Asked", bound=BaseModel)


def endpoint(name: str, kind: type[Asked], answer: Callable[[Asked], Awaitable[JSONResponse]]) -> Route:
    """Takes a wish of this kind as JSON, from whoever has logged in."""

    async def answered(request: Request) -> JSONResponse:
        if not logged_in(request):
            return refused(401, "log in first")
        try:
            asked = kind.model_validate_json(await request.body())
        except ValidationError as error:
            return refused(422, "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()))
        return await answer(asked)

    return Route(f"/second-opinion/{name}", answered, methods=["POST"])


def refused(status: int, why: str) -> JSONResponse:
    return JSONResponse({"refused": why}, status)


class Answers:
    """What `work` says to a wish, as it is sent: worked out in a thread, once for all who wish the same at the same moment.

    A moment is any value that is another one as soon as the answer may be. For one event loop.
    """

    def __init__(self, work: Callable[[Asked], dict[str, Any]]):
        self._work = work
        self._begun = lru_cache(maxsize=64)(self._begin)

    async def __call__(self, moment: Hashable, asked: Asked) -> JSONResponse:
        try:
            return await asyncio.shield(self._begun(moment, asked))
        except Exception:
            self._begun.cache_clear()  # whoever asks next may have more luck
            raise

    def _begin(self, _moment: Hashable, asked: Asked) -> asyncio.Task[JSONResponse]:
        return asyncio.create_task(run_in_threadpool(lambda: JSONResponse(self._work(asked))))
