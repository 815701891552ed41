"""What boards of curves ask for over HTTP. Answers are JSON, and the first may come before Gradio has mounted the page."""

import asyncio
import time
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route

from app import judge_plots, live_chart
from app.answers import Answers, endpoint, refused
from app.live_chart import Axis, Clock, Plot
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


class Points:
    """The endpoints' state: an index, and the hours of training that were summed up so far."""

    def __init__(self, runs: Runs, store: Store):
        self.runs, self.store, self.clock = runs, store, Clock()
        self._answers = Answers(self._news)
        self._looks: dict[tuple[str, str], asyncio.Task[str]] = {}

    def routes(self) -> list[Route]:
        return [endpoint("points", News, self.points), endpoint("table", Whole, self.table)]

    async def points(self, asked: News) -> JSONResponse:
        newest = await self._changed(asked.run, asked.known) if asked.known else str(self.store.newest(asked.run))
        return await self._answers(self.store.revision(), asked.model_copy(update={"known": newest}))

    async def table(self, asked: Whole) -> JSONResponse:
        text = await run_in_threadpool(self.csv, asked)
        return refused(404, "there is no such plot") if text is None else JSONResponse({"text": text})

    async def _changed(self, *wait: str) -> str:
        """As `_look`, which looks once for all boards that wait for the same."""
        if wait not in self._looks:
            self._looks[wait] = asyncio.create_task(self._look(*wait))
            self._looks[wait].add_done_callback(lambda _: self._looks.pop(wait))
        return await asyncio.shield(self._looks[wait])

    async def _look(self, run: str, known: str) -> str:
        """What is newest of the run's curves, as soon as it is another than is known and stays so for a moment: a step's
        games reach the index right after its line of the log."""
        deadline = time.monotonic() + PATIENCE
        before, now = "", str(self.store.newest(run))
        while (now == known or now != before) and time.monotonic() < deadline:
            await asyncio.sleep(LOOK)
            before, now = now, str(self.store.newest(run))
        return now

    def _news(self, asked: News) -> dict[str, Any]:
        """As `live_chart.refresh`; nothing but empty cards for a run that is not known, or not yet. `known` is what is
        newest."""
        plots = {plot.id: plot for plot in PLOTS[asked.board]}
        if not self._exists(asked.run):
            cards = live_chart.cards(self.store, "", 0) if asked.board is Board.LIVE else {}
            return {"newest": asked.known, "last": 0, "plots": {}, "cards": cards}
        since = {name: x for name, x in asked.since if name in plots}
        found = live_chart.refresh(self.store, self.clock, asked.run, since, asked.smoothing, asked.axis, plots)
        return {"newest": asked.known} | found

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
