"""Batches made of what concurrent games ask at about the same time."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Asked, Answered = TypeVar("Asked"), TypeVar("Answered")


class Batcher(Generic[Asked, Answered]):
    """Collects questions and has them answered together, by `work` in a thread, one batch at a time.

    A batch is full at `most`; the first question of one that is not waits `wait` seconds for company. While a batch is at
    work the next one gathers. Each event loop that asks begins anew: nothing can wait across two of them.
    """

    def __init__(self, work: Callable[[list[Asked]], list[Answered]], most: int, wait: float):
        self._work, self._most, self._wait = work, most, wait
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[tuple[Asked, asyncio.Future]] = []
        self._serving: asyncio.Task | None = None

    async def ask(self, asked: Asked) -> Answered:
        """Errors: what `work` raised for its batch."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._full, self._waiting, self._serving = loop, asyncio.Event(), [], None
        answer = loop.create_future()
        self._waiting.append((asked, answer))
        if len(self._waiting) >= self._most:
            self._full.set()
        if self._serving is None or self._serving.done():
            self._serving = asyncio.ensure_future(self._serve())
        return await answer

    async def _serve(self) -> None:
        while self._waiting:
            await self._gather()
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            batch = [(asked, answer) for asked, answer in batch if not answer.done()]  # nobody waits for the others
            if batch:
                await self._answer(batch)

    async def _gather(self) -> None:
        if len(self._waiting) >= self._most:
            return
        self._full.clear()
        try:
            await asyncio.wait_for(self._full.wait(), self._wait)
        except TimeoutError:
            return

    async def _answer(self, batch: list[tuple[Asked, asyncio.Future]]) -> None:
        try:
            answers = await asyncio.to_thread(self._work, [asked for asked, _ in batch])
        except Exception as error:  # each question gets it; the next batch may fare better
            answers = [error] * len(batch)
        for (_, waiting), answer in zip(batch, answers, strict=True):
            if waiting.done():
                continue
            if isinstance(answer, Exception):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)
