"""What boards of curves ask for over HTTP. Answers are JSON, and the first may come before Gradio has mounted the page."""

import asyncio
import time
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app import judge_plots, live_chart
from app.live_chart import Axis, Clock, Plot
from app.login import logged_in
from launcher import rundir
from launcher.rundir import UnknownRun
from launcher.runs import Runs
from launcher.store import Store

PATIENCE, LOOK = 10.0, 0.03
"""Seconds that an answer waits for news at most, and between two looks whether there are any."""

MOST_SMOOTHING = 0.98


def _pairs(value: Any) -> Any:
    return tuple(value.items()) if isinstance(value, dict) else value


class Board(StrEnum):
    LIVE = "live"
    JUDGE = "judge"


PLOTS: dict[Board, tuple[Plot, ...]] = {Board.LIVE: live_chart.PLOTS, Board.JUDGE: judge_plots.PLOTS}


class Wish(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    run: str
    board: Board


class News(Wish):
    """A board asks what is new."""

    since: Annotated[tuple[tuple[str, float], ...], BeforeValidator(_pairs)]
    """By plot: the x after which its rows are wanted."""
    smoothing: Annotated[float, Field(ge=0, le=MOST_SMOOTHING)]
    axis: Axis
    known: str = ""
    """What an answer said was the newest: this one waits until something is newer."""


class Whole(Wish):
    """A board asks for one plot as CSV."""

    plot: str


Asked = TypeVar("Asked", bound=Wish)


class Points:
    """The endpoints' state: an index, and the hours of training that were summed up so far."""

    def __init__(self, runs: Runs, store: Store):
        self.runs, self.store, self.clock = runs, store, Clock()
        self._told = lru_cache(maxsize=64)(self._news)

    def routes(self) -> list[Route]:
        return [
            Route("/second-opinion/points", self.points, methods=["POST"]),
            Route("/second-opinion/table", self.table, methods=["POST"]),
        ]

    async def points(self, request: Request) -> JSONResponse:
        asked = await _read(request, News)
        if isinstance(asked, JSONResponse):
            return asked
        newest = await self._changed(request, asked)
        found = await run_in_threadpool(self._told, self.store.revision(), asked)
        return JSONResponse(found | {"newest": newest})

    async def table(self, request: Request) -> JSONResponse:
        asked = await _read(request, Whole)
        if isinstance(asked, JSONResponse):
            return asked
        text = await run_in_threadpool(self.csv, asked)
        return _refused(404, "there is no such plot") if text is None else JSONResponse({"text": text})

    async def _changed(self, request: Request, asked: News) -> str:
        """What is newest of the run's curves, as soon as it is another than the board knows and stays so for a moment: a
        step's games reach the index right after its line of the log."""
        deadline = time.monotonic() + PATIENCE
        before, now = "", str(self.store.newest(asked.run))
        while (now == asked.known or (asked.known and now != before)) and time.monotonic() < deadline:
            if await request.is_disconnected():
                break
            await asyncio.sleep(LOOK)
            before, now = now, str(self.store.newest(asked.run))
        return now

    def _news(self, revision: tuple, asked: News) -> dict[str, Any]:
        """As `live_chart.refresh`; nothing but empty cards for a run that is not known, or not yet. An index that is at the
        same revision gives the same answer."""
        plots = {plot.id: plot for plot in PLOTS[asked.board]}
        if not self._exists(asked.run):
            cards = live_chart.cards(self.store, "", 0) if asked.board is Board.LIVE else {}
            return {"last": 0, "plots": {}, "cards": cards}
        since = {name: x for name, x in asked.since if name in plots}
        return live_chart.refresh(self.store, self.clock, asked.run, since, asked.smoothing, asked.axis, plots)

    def csv(self, asked: Whole) -> str | None:
        plot = next((plot for plot in PLOTS[asked.board] if plot.id == asked.plot), None)
        return live_chart.text(self.store, asked.run, plot) if plot and self._exists(asked.run) else None

    def _exists(self, run: str) -> bool:
        """The index knows the run; a run that was only just made may not be in it yet."""
        try:
            rundir.find(self.runs.folder, run)
        except UnknownRun:
            return False
        return self.store.run(run) is not None


async def _read(request: Request, kind: type[Asked]) -> Asked | JSONResponse:
    """What is asked, or why it is not answered."""
    if not logged_in(request):
        return _refused(401, "log in first")
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        return _refused(422, "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()))


def _refused(status: int, why: str) -> JSONResponse:
    return JSONResponse({"refused": why}, status)
