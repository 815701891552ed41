"""What the watch over a run's health reads: sums that are kept of texts, and the newest steps as values."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from launcher import store_charts, store_texts
from launcher.alerts import AlertLine
from launcher.health import Player, Step
from launcher.health_texts import Texts
from launcher.store import Store
from launcher.store_games import ALL
from medical_team.types import Role

FIGURES = ("policy_loss", "actor_grad_norm", "kl", "ppo_kl", "vllm_kl")
"""The trainer's metrics that health looks at."""


class StoredAlert(NamedTuple):
    """An alert as it was raised; `cleared` is None as long as it is open."""

    id: str
    kind: str
    step: int
    text: str
    link: str
    raised: float
    cleared: float | None


def steps(store: Store, run: str, first: int, last: int, group: Sequence[str] = ()) -> list[Step]:
    """The steps from `first` to `last`, in order.

    `group`: columns of games (g) and turns (t) that are the same in all rewards that the trainer compares. Without it
    nothing is told of groups.
    """
    games = {row[0]: row[1:] for row in store.rows(
        """SELECT step, games, ties, attacked, faithful, deceived FROM step_games
        WHERE run = ? AND category = ? AND step BETWEEN ? AND ?""", run, ALL, first, last,
    )}  # fmt: skip
    judged = {row[0]: row[1:] for row in store.rows(
        """SELECT step, harmful + harmless, harmful - missed + flagged, asked, failed, abstained + unreadable
        FROM step_judge
        WHERE run = ? AND step BETWEEN ? AND ?""", run, first, last,
    )}  # fmt: skip
    figures: dict[int, list[tuple[str, float]]] = {}
    for name in FIGURES:
        for point in store.series(run, name, first - 1, last):
            figures.setdefault(point.step, []).append((name, point.value))
    texts, rewards = store_texts.by_step(store, run, first, last), _rewards(store, run, first, last)
    groups = _groups(store, run, first, last, group) if group else {}
    found = []
    for step in sorted(games.keys() | figures.keys()):
        attacker, assessor = (
            Player(*rewards.get((step, role), (None, None)), *texts.get((step, role), Texts())[1:3]) for role in Role
        )
        attack = texts.get((step, Role.ATTACKER), Texts())
        found.append(Step(
            step, tuple(figures.get(step, ())), attacker, assessor, *games.get(step, (0,) * 5),
            *judged.get(step, (0,) * 5), attack.turns, attack.copied, attack.garbled, *groups.get(step, (0, 0)),
        ))  # fmt: skip
    return found


def _rewards(store: Store, run: str, first: int, last: int) -> dict[tuple[int, str], tuple[float, float | None]]:
    return {
        (point.step, role): (point.mean_reward, point.mean_tokens)
        for role in Role
        for point in store_charts.rewards(store, run, role, since=first - 1, until=last)
    }


def _groups(store: Store, run: str, first: int, last: int, group: Sequence[str]) -> dict[int, tuple[int, int]]:
    """By step: trained turns in groups of two or more, and those in groups whose rewards are all equal."""
    rows = store.rows(
        f"""SELECT step, sum(turns), sum(turns * flat) FROM (
            SELECT g.step, count(*) AS turns, max(t.raw_reward) - min(t.raw_reward) < 1e-9 AS flat
            FROM games g JOIN turns t ON t.game = g.id
            WHERE g.run = ? AND g.mode = 'train' AND g.step BETWEEN ? AND ? AND g.drop_reason IS NULL AND t.trained
            GROUP BY g.step, g.attempt, {", ".join(group)} HAVING count(*) > 1
        ) GROUP BY step""",
        run, first, last,
    )  # fmt: skip
    return {step: (turns, flat) for step, turns, flat in rows}


def ranges(store: Store, run: str) -> dict[Role, float]:
    """How far the rewards of a role's turns were apart, over the whole run."""
    rows = store.rows(
        """SELECT t.role, max(t.raw_reward) - min(t.raw_reward) FROM facet_turns t JOIN facets f ON f.id = t.facet
        WHERE f.run = ? AND f.mode = 'train' AND NOT f.dropped GROUP BY t.role""",
        run,
    )
    return {Role(role): apart for role, apart in rows}


def judge_event(store: Store, run: str) -> tuple[str, str] | None:
    """Level and text of the last thing that the judge itself told of; None if it told nothing. The file's order tells: a
    clock may be set back."""
    rows = store.rows(
        "SELECT level, text FROM events WHERE run = ? AND kind = 'judge' ORDER BY offset DESC LIMIT 1", run
    )
    return rows[0] if rows else None


def take(store: Store, run: str, lines: Iterable[AlertLine]) -> None:
    """Takes what events.jsonl tells of alerts, in its order."""
    for line in lines:
        if line.change == "raised":
            store.connection.execute(
                "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
                (run, line.alert, line.what, line.step, line.text, line.link, line.time),
            )
        elif line.change == "cleared":
            store.connection.execute(
                "UPDATE alerts SET cleared = ? WHERE run = ? AND id = ?", (line.time, run, line.alert)
            )


def alerts(store: Store, run: str, most: int = 50) -> list[StoredAlert]:
    """Open ones first, then the others; each newest first."""
    rows = store.rows(
        """SELECT id, kind, step, text, link, raised, cleared FROM alerts WHERE run = ?
        ORDER BY cleared IS NOT NULL, raised DESC, id LIMIT ?""", run, most,
    )  # fmt: skip
    return list(map(StoredAlert._make, rows))
