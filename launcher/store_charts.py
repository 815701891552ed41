"""What charts show of a run's games. Sums per step are kept by `store_games`; a point and the games behind it agree."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from launcher.store import LAST, Store
from launcher.store_games import ALL
from medical_team.types import Role

TOLERANCE = 1e-4
"""The trainer averages in float32."""


class RolePoint(NamedTuple):
    """One role's turns in a step's counted games; those of a frozen opponent are not among them."""

    step: int
    turns: int
    mean_reward: float
    """Of raw rewards."""
    format_ok: float
    """Share of replies that kept to the format."""
    mean_tokens: float | None
    """None where the trainer does not tell, in the single-turn mode."""


class GamePoint(NamedTuple):
    """One step's training games; the shares are None where they would divide by nothing."""

    step: int
    games: int
    """Played, dropped ones included."""
    counted: int
    """Not dropped."""
    ties: float | None
    """Share of the games played that have no truth."""
    faithful: float | None
    """Share of the trained attackers' games, ties aside, in which the note was what it was asked for."""
    deceived: float | None
    """Share of their games with a faithful note in which the assessor was wrong: the attacker's success."""
    correct: float | None
    """Share of the trained assessors' answers that agree with the truth."""


class Agreement(NamedTuple):
    """One role's mean raw reward in a step: from the games, and as the trainer logged it (float32)."""

    step: int
    role: str
    games: float | None
    trainer: float | None

    @property
    def agree(self) -> bool:
        """The two means are the same within the tolerance, or there is none on either side."""
        if self.games is None or self.trainer is None:
            return self.games is self.trainer
        return abs(self.games - self.trainer) <= TOLERANCE


_ROLE = {
    "turns": "turns", "mean_reward": "raw_reward / turns", "format_ok": "1.0 * format_ok / turns",
    "mean_tokens": "1.0 * tokens / turns",
}  # fmt: skip
_GAME = {
    "games": "games", "counted": "counted", "ties": "1.0 * ties / games", "faithful": "1.0 * faithful / nullif(attacked, 0)",
    "deceived": "1.0 * deceived / nullif(faithful, 0)", "correct": "1.0 * correct / nullif(answers, 0)",
}  # fmt: skip
"""How the fields of RolePoint and GamePoint follow from a step's sums."""


def rewards(
    store: Store, run: str, role: Role, category: str = ALL, since: int = -1, until: int = LAST
) -> list[RolePoint]:
    """The role's steps after `since`, up to `until`, in order."""
    return list(map(RolePoint._make, role_rows(store, run, role, tuple(_ROLE), category, since, until)))


def role_rows(
    store: Store, run: str, role: Role, fields: tuple[str, ...], category: str = ALL, since: int = -1, until: int = LAST
) -> list[tuple]:
    """These fields of the same, each row after its step."""
    return store.rows(
        f"""SELECT step, {", ".join(map(_ROLE.__getitem__, fields))} FROM step_roles
        WHERE run = ? AND category = ? AND role = ? AND step > ? AND step <= ? ORDER BY step""",
        run, category, role, since, until,
    )  # fmt: skip


def rates(store: Store, run: str, category: str = ALL, since: int = -1) -> list[GamePoint]:
    """What became of the games of the steps after `since`, in order."""
    return list(map(GamePoint._make, game_rows(store, run, tuple(_GAME), category, since)))


def game_rows(store: Store, run: str, fields: tuple[str, ...], category: str = ALL, since: int = -1) -> list[tuple]:
    """These fields of the same, each row after its step."""
    return store.rows(
        f"""SELECT step, {", ".join(map(_GAME.__getitem__, fields))} FROM step_games
        WHERE run = ? AND category = ? AND step > ? ORDER BY step""",
        run, category, since,
    )  # fmt: skip


def ends(store: Store, run: str, steps: Iterable[int]) -> dict[int, float]:
    """When the last game of each of these steps ended, in Unix seconds; nothing for a step without games."""
    rows = store.rows(
        "SELECT step, ended FROM step_ends WHERE run = ? AND step IN (SELECT value FROM json_each(?))",
        run, json.dumps(list(steps)),
    )  # fmt: skip
    return dict(rows)


def reward_agreement(store: Store, run: str) -> list[Agreement]:
    """For every step that both the games and the trainer's log tell of: the two means, per role."""
    found = []
    for role in Role:
        sums = {step: value for step, value in store.series(run, f"{role}_raw")}
        shares = {step: value for step, value in store.series(run, f"is_{role}")}
        games = {point.step: point.mean_reward for point in rewards(store, run, role)}
        for step in sums.keys() & shares.keys():
            trainer = sums[step] / shares[step] if shares[step] else None
            found.append(Agreement(step, role, games.get(step), trainer))
    return sorted(found)


def counts(store: Store, run: str) -> dict[tuple[str, str], int]:
    """Games by mode and category."""
    rows = store.rows("SELECT mode, category, sum(games) FROM facets WHERE run = ? GROUP BY mode, category", run)
    return {(mode, category): games for mode, category, games in rows}
