"""The list of runs, and what runs have in common and not, as HTML."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydantic import ValidationError

from app import memory_bars
from app.pages.one_game import chip
from app.shared import Shared
from app.text import cut, duration, moment
from launcher import library, memory, model_shape, rundir, store_charts, svg
from launcher.ingest import ingest
from launcher.library import Notes
from launcher.markup import Child, Markup, join, table, tag
from launcher.memory_measured import compare
from launcher.reading import Unreadable, settings
from launcher.rundir import RunDir
from launcher.runs import config_of
from launcher.state import State
from launcher.store import Run, Store
from launcher.svg import Curve
from launcher.watch import UNREADABLE
from medical_team.types import Role

TOO_FEW = "Mark two or more runs to see their curves together and the settings in which they differ."
NOTES_UNREADABLE = "notes.json cannot be read"


@dataclass(frozen=True)
class Line:
    """A run as a line of the list."""

    run: Run
    now: State | None
    notes: Notes
    damage: str | None = None
    """Why its files cannot be read."""

    @property
    def state(self) -> str:
        if self.damage:
            return UNREADABLE
        return self.now.state if self.now else "created"


def every(shared: Shared) -> list[Line]:
    """All runs, newest first, each in its true state."""
    return [line_of(shared, run) for run in reversed(rundir.every(shared.runs.folder))]


def line_of(shared: Shared, run: RunDir) -> Line:
    """The run in its true state, or with what keeps it from being known."""
    now = damage = None
    try:
        now = shared.runs.look(run)
        config_of(run)
    except Unreadable as error:
        damage = str(error)
    if shared.store.run(run.id) is None:
        ingest(shared.store, run.path)
    return Line(shared.store.run(run.id), now, _notes(run), damage)


def _notes(run: RunDir) -> Notes:
    """What is written of the run; a file that cannot be read is told of as a tag, and not written over."""
    try:
        return library.notes(run)
    except ValidationError:
        return Notes(tags=(NOTES_UNREADABLE,))


def passing(lines: Sequence[Line], text: str, tags: Sequence[str], state: str) -> list[Line]:
    """The runs with these words in id, name, preset or notes, with all of these tags, in this state."""
    words = text.lower().split()
    return [
        line for line in lines
        if all(word in _searched(line) for word in words) and set(tags) <= set(line.notes.tags)
        and state in ("", line.state)
    ]  # fmt: skip


def _searched(line: Line) -> str:
    return "\n".join((line.run.id, line.run.name or "", line.run.preset or "", line.notes.notes)).lower()


def listed(store: Store, lines: Sequence[Line], marked: Sequence[str], picked: str) -> Markup:
    heads = ("compare", "run", "state", "steps", "assessor's reward", "preset", "tags", "started", "took")
    head = tag("tr", *(tag("th", name, scope="col") for name in heads))
    body = (_row(store, line, line.run.id in marked, line.run.id == picked) for line in lines)
    return tag(
        "div", tag("table", tag("thead", head), tag("tbody", *body), class_="records runs"), class_="wide", tabindex=0
    )


def _row(store: Store, line: Line, marked: bool, picked: bool) -> Markup:
    run, now = line.run, line.now
    mark = tag(
        "button", "marked" if marked else "mark", type="button", data_run=run.id,
        aria_pressed="true" if marked else "false", aria_label=f"{'marked' if marked else 'mark'} to compare {run.id}",
    )  # fmt: skip
    name = tag("button", run.id, type="button", data_run=run.id)
    cells: tuple[Child, ...] = (
        mark, join(name, tag("div", tag("bdi", cut(run.name, 60))) if run.name else None), chip(line.state),
        f"{now.step} of {now.steps}" if now else "-", _sparkline(store, run.id, now.step if now else 0),
        run.preset or "-", join(*(tag("bdi", cut(one, 30), class_="tag") for one in line.notes.tags)),
        moment(now.started if now else run.created), duration(_took(now)),
    )  # fmt: skip
    said = (tag("td", cell) for cell in cells)
    return tag("tr", *said, aria_current="true" if picked else None)


@lru_cache(maxsize=500)
def _sparkline(store: Store, run: str, step: int) -> Markup:
    return svg.sparkline([point.mean_reward for point in store_charts.rewards(store, run, Role.ASSESSOR)])


def _took(now: State | None) -> float | None:
    return None if now is None else (now.ended or time.time()) - now.started


def compared(store: Store, runs: Sequence[RunDir]) -> Markup:
    """The runs' reward curves over one another, and a table of the settings that are not the same in all of them."""
    if len(runs) < 2:
        return tag("p", TOO_FEW, class_="empty")
    charts = (
        svg.chart(
            f"Mean raw reward of the {role}",
            [Curve(_called(store, run), [(point.step, point.mean_reward) for point in points])
             for run in runs if (points := store_charts.rewards(store, run.id, role))],
        )
        for role in (Role.ASSESSOR, Role.ATTACKER)
    )  # fmt: skip
    try:
        found = library.differing([settings(run) for run in runs])
    except Unreadable as error:
        return join(tag("div", *charts, class_="charts"), tag("p", str(error), class_="empty"))
    rows: list[list[Child]] = [[key, *(tag("bdi", cut(_value(one), 80)) for one in values)] for key, values in found]
    heads = ("setting", *(cut(_called(store, run), 40) for run in runs))
    same = tag("p", "Their settings are the same.", class_="empty")
    return join(tag("div", *charts, class_="charts"), table(heads, rows) if rows else same)


def _called(store: Store, run: RunDir) -> str:
    return cut(f"{store.run(run.id).name} {run.id}".strip(), 80)


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def described(line: Line, run: RunDir) -> Markup:
    now = line.now
    said = [line.state, f"{library.size_mb(run):,.1f} MB in {run.path}"]
    if reason := line.damage or (now and now.reason):
        said.insert(1, reason)
    return join(tag("h3", "Run ", tag("bdi", line.run.name or line.run.id)), tag("p", tag("bdi", " · ".join(said))))


def memory_of(store: Store, run: RunDir, gpu: int | None) -> Markup:
    """What a run was estimated to hold on GPUs of so many bytes beside what it held; empty where nothing was measured."""
    points = [point for point in store.memory(run.id) if point.source == "nvml"]
    if not points:
        return Markup("")
    if gpu is None:
        asked = f"python -m launcher memory --gpu-gb N --run {run.id}"
        return tag("p", f"No GPU answers here: {asked} has the estimate beside what was measured.", class_="empty")
    try:
        config = config_of(run)
        work = memory.Workload(config, model_shape.of_model(config.policy), gpu, memory.judge_of(config.judge))
    except (Unreadable, model_shape.UnknownShape) as error:
        return tag("p", f"No estimate: {error}", class_="empty")
    return memory_bars.measured(compare(memory.plan(work), points))
