"""The plots of the page Live: what each one shows, read from the index, and what a page that polls gets of it."""

import csv
import io
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import accumulate, islice
from typing import Any

from app import charts
from app.charts import Rows, Table, Value
from launcher import export, store_charts
from launcher.store import MEMORY_ROLES, Store
from medical_team.types import Category, Role

Curves = dict[str, Rows]

OVERLAP = 2
"""Steps that are sent again: the last games of a step may reach the index after its line of the log."""

FIGURES_SINCE = 2 * charts.CARD_CURVE
"""Steps behind the cards."""

STEP_SECONDS = "timing/step_total"


class Axis(StrEnum):
    """What curves over steps are drawn over."""

    STEP = "step"
    HOURS = "hours"
    """Of training: the sum of the steps' own durations."""
    CLOCK = "clock"
    """The time of day at which a step's last game ended."""


@dataclass(frozen=True)
class Plot:
    """One plot. `read` takes store, run, and the x after which curves are wanted."""

    id: str
    title: str
    unit: str
    empty: str
    """What will be here, and when."""
    read: Callable[[Store, str, float], Curves]
    cells: int = 1800
    """Most numbers that it sends at once; about nine bytes each."""
    over_time: bool = False
    """x are Unix seconds instead of steps."""
    stacked: bool = False
    share: bool = False
    """Values between 0 and 1."""
    few: bool = False
    """Too few points to be smoothed."""
    games: str = "train"
    """Games that a click on a step opens: those of training, or of evaluation; empty for none."""


def by_role(field: str) -> Callable[[Store, str, float], Curves]:
    """Reads this field of `RolePoint` for both roles."""

    def read(store: Store, run: str, since: float) -> Curves:
        return {role.value: store_charts.role_rows(store, run, role, (field,), since=int(since)) for role in Role}

    return read


def by_category(role: Role) -> Callable[[Store, str, float], Curves]:
    """Reads the role's reward in every category that it plays in."""
    played = [category for category in Category if role is Role.ASSESSOR or category.adversarial]

    def read(store: Store, run: str, since: float) -> Curves:
        return {
            category.value.replace("_", " "):
                store_charts.role_rows(store, run, role, ("mean_reward",), category, int(since))
            for category in played
        }  # fmt: skip

    return read


def rates(store: Store, run: str, since: float) -> Curves:
    return columns(tuple(RATES), store_charts.game_rows(store, run, tuple(RATES.values()), since=int(since)))


def columns(names: tuple[str, ...], rows: list[tuple]) -> Curves:
    """Rows of x and a value for every name as curves."""
    return {name: [(row[0], row[at]) for row in rows] for at, name in enumerate(names, start=1)}


RATES = {
    "assessor correct": "correct", "assessor deceived": "deceived", "note faithful": "faithful", "no verdict (tie)": "ties",
}  # fmt: skip


def formats(store: Store, run: str, since: float) -> Curves:
    kept = by_role("format_ok")(store, run, since)
    cut = store.values(run, "rollout/truncated_rate", int(since))
    return {f"{role}, format kept": points for role, points in kept.items()} | {"reply cut off": cut}


def evaluations(store: Store, run: str, since: float) -> Curves:
    found: Curves = {}
    for point in store.evals(run):
        if point.name.endswith("_pass1") and point.step > since:
            name = point.name.removeprefix("eval_").removesuffix("_pass1").replace("_", " ")
            found.setdefault(name, []).append((point.step, point.value))
    return found


def memory(store: Store, run: str, since: float) -> Curves:
    return columns(MEMORY_ROLES, store.memory_by_role(run, since))


def timings(store: Store, run: str, since: float) -> Curves:
    names = [name for name in store.metric_names(run) if name.startswith("timing/") and name != STEP_SECONDS]
    return {name.removeprefix("timing/").replace("_", " "): store.values(run, name, int(since)) for name in names}


def metrics(names: dict[str, str]) -> Callable[[Store, str, float], Curves]:
    """Reads these metrics of the trainer, under these names."""

    def read(store: Store, run: str, since: float) -> Curves:
        return {shown: store.values(run, name, int(since)) for name, shown in names.items()}

    return read


rewards = by_role("mean_reward")
kl = metrics(
    {"kl": "policy from start model", "ppo_kl": "policy within the step", "vllm_kl": "trainer from rollout engine"}
)
loss = metrics({"policy_loss": "policy loss"})
gradient = metrics({"actor_grad_norm": "gradient norm"})

STEP_1 = "Comes with the first finished step."
EVAL = "Comes with the first evaluation; the setting eval.steps says when."
START = "Comes a second after the start."

PLOTS = (
    Plot("rewards", "Reward per turn", "mean raw reward", STEP_1, rewards, cells=3600),
    Plot("rates", "Games", "share", STEP_1, rates, cells=2700, share=True),
    Plot("attacker", "Attacker's reward per category", "mean raw reward", STEP_1, by_category(Role.ATTACKER)),
    Plot("assessor", "Assessor's reward per category", "mean raw reward", STEP_1, by_category(Role.ASSESSOR)),
    Plot("evaluations", "Held-out notes answered correctly", "share", EVAL, evaluations, few=True, games="eval"),
    Plot("formats", "Format", "share of replies", STEP_1, formats, share=True),
    Plot("memory", "Memory by process", "MB", START, memory, over_time=True, stacked=True, games=""),
    Plot("timings", "Time of a step by phase", "seconds", STEP_1, timings, stacked=True),
    Plot("kl", "KL", "nats", STEP_1, kl),
    Plot("lengths", "Reply length", "mean tokens", STEP_1, by_role("mean_tokens")),
    Plot("loss", "Policy loss", "loss", STEP_1, loss, cells=800),
    Plot("gradient", "Gradient norm", "norm", STEP_1, gradient, cells=800),
)
BY_ID = {plot.id: plot for plot in PLOTS}


def described(plot: Plot) -> dict[str, Any]:
    """What the page needs to know of a plot before it has points."""
    names = ("id", "title", "unit", "empty", "over_time", "stacked", "share", "games")
    return {name: getattr(plot, name) for name in names}


def read(store: Store, run: str, plot: Plot, last: int, since: float = -1) -> Table:
    """The plot's curves after `since`, up to the last finished step."""
    found = charts.table(plot.read(store, run, since))
    return found if plot.over_time else found.up_to(last)


def refresh(
    store: Store, clock: "Clock", run: str, since: dict[str, float], weight: float, axis: Axis,
    plots: Mapping[str, Plot] = BY_ID,
) -> dict[str, Any]:  # fmt: skip
    """What is new: for every plot in `since` its rows after that x, and the cards.

    {"last": step, "plots": {id: {"x", "raw", "smooth", "at"?, "from"}}, "cards": {...}}. "at" says when each row's
    step was, unless steps are the axis. The page drops what it has from "from" on, and what is later than "last": steps
    can be made again.
    """
    last = store.progress(run).step
    found = {}
    for name, seen in since.items():
        plot = plots[name]
        start = seen if plot.over_time else min(seen, last) - OVERLAP
        smoothing = 0.0 if plot.stacked or plot.few else weight
        table = read(store, run, plot, last, max(-1, start - charts.warm_up(smoothing)))
        found[name] = charts.wire(table, start, smoothing, plot.cells, plot.stacked) | {"from": start}
        if axis is not Axis.STEP and not plot.over_time:
            steps = found[name]["x"]
            found[name]["at"] = clock.hours(store, run, steps) if axis is Axis.HOURS else clock_time(store, run, steps)
    return {"last": last, "plots": found, "cards": cards(store, run, last)}


def clock_time(store: Store, run: str, steps: list[float]) -> list[Value]:
    """Unix seconds at which the last game of each step ended; None for a step without games."""
    return list(map(store_charts.ends(store, run, steps).get, steps))


def cards(store: Store, run: str, last: int) -> dict[str, dict | None]:
    """The four figures of a run, by title; None for one that has no point yet."""
    since = max(-1, last - FIGURES_SINCE)
    reward, rate, moved = rewards(store, run, since), rates(store, run, since), kl(store, run, since)
    measured = next((name for name, points in moved.items() if any(value for _, value in points)), None)
    curves = {
        "Attacker reward": reward["attacker"], "Assessor reward": reward["assessor"],
        "Assessor agrees with the judge": rate["assessor correct"],
        f"KL, {measured}" if measured else "KL": moved.get(measured, []),
    }  # fmt: skip
    shown = {title: charts.card([point for point in points if point[0] <= last]) for title, points in curves.items()}
    return {title: asdict(card) if card else None for title, card in shown.items()}


def text(store: Store, run: str, plot: Plot) -> str:
    """The plot as CSV: every point as it was measured, nothing smoothed and nothing left out."""
    table = read(store, run, plot, store.progress(run).step)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["time" if plot.over_time else "step", *map(export.cell, table.columns)])
    xs = table.x.tolist() if plot.over_time else map(int, table.x)
    writer.writerows(zip(xs, *map(charts.listed, table.columns.values()), strict=True))
    return out.getvalue()


class Clock:
    """Hours of training at a step: the sum of the steps' own durations, kept so that a refresh adds only the new ones.

    Loading, evaluations and the time between two starts are not in it.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int], dict[int, float]] = {}

    def hours(self, store: Store, run: str, steps: list[float]) -> list[Value]:
        """None for a step whose duration is not known. A new start of the run is counted anew."""
        key = run, store.progress(run).attempt
        with self._lock:
            known = self._known.setdefault(key, {})
            last = next(reversed(known), -1)
            new = store.series(run, STEP_SECONDS, last)
            sums = accumulate((point.value / 3600 for point in new), initial=known.get(last, 0.0))
            known.update(zip((point.step for point in new), islice(sums, 1, None), strict=True))
            return [known.get(step) for step in steps]
