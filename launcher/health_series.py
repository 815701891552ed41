"""Curves of a run that break: losses, KL, rewards, lengths. Pure, as `health` is."""

import math
import statistics
from collections.abc import Iterator, Sequence
from itertools import pairwise

from launcher.health import Finding, Kind, Place, Step, games
from medical_team.types import Role

NEW = 3
"""Steps that are looked at anew: some may have come since the last look."""

PAST, FEWEST = 20, 5
"""Steps before one that say what is usual, and how many of them there must be."""

LOSSES = {"policy_loss": ("loss", 1.0), "actor_grad_norm": ("gradient", 10.0)}
"""Metric -> its plot, and a size below which nothing explodes. Healthy runs stay below 0.2 and 3."""

EXPLOSION = 10.0
"""Times the largest of the past steps."""

KLS = {"kl": 0.1, "ppo_kl": 0.05, "vllm_kl": 0.02}
"""Metric -> nats below which it has not jumped. bfloat16 alone makes some 0.01 of vllm_kl."""

JUMP = 10.0
"""Times the median of the past steps."""

WINDOW = 5
"""Steps whose mean reward is compared."""

DROP = 0.3
"""Share of the range of a player's rewards that it loses, beyond what the other one gains."""

SHORT = 0.4
"""Share that is left of the run's first lengths."""

SHORT_STEPS = 3
"""Steps that all have to be short."""

TREND, FALLS, ENDS, LEFT = 10, 8, 3, 0.8
"""Of so many steps in a row so many have to be shorter than the one before, and the newest ENDS of them to have less than
this share left of the length of the oldest: chance alone does that in one run of 250 at most, if lengths vary by 10 %."""

EMPTY = 1.5
"""Words of thinking below which it is as good as empty."""

WELL_KNOWN = 16
"""Turns that a mean length needs; a step with fewer says nothing of a trend."""


def series(first: Sequence[Step], steps: Sequence[Step], ranges: dict[Role, float]) -> Iterator[Finding]:
    """`first` are the run's first steps, `steps` the newest in order, `ranges` how far a role's rewards are apart."""
    yield from not_finite(steps)
    yield from exploding(steps)
    yield from kl_jump(steps)
    yield from reward_collapse(steps, ranges)
    yield from length_collapse(first, steps)


def not_finite(steps: Sequence[Step]) -> Iterator[Finding]:
    for step in steps[-NEW:]:
        for name, value in step.figures:
            if not math.isfinite(value):
                plot = LOSSES[name][0] if name in LOSSES else "kl"
                yield Finding(Kind.NOT_FINITE, step.step, f"{name} is {value} at step {step.step}", _plot(plot))
                return


def exploding(steps: Sequence[Step]) -> Iterator[Finding]:
    for name, (plot, least) in LOSSES.items():
        for value, step, past in _against_past(steps, name):
            if value > max(least, EXPLOSION * max(past)):
                before = f"the largest of the {len(past)} steps before is {max(past):.3g}"
                text = f"{name} is {value:.3g} at step {step}; {before}"
                yield Finding(Kind.EXPLODING, step, text, _plot(plot))
                return


def kl_jump(steps: Sequence[Step]) -> Iterator[Finding]:
    for name, least in KLS.items():
        for value, step, past in _against_past(steps, name):
            usual = statistics.median(past)
            if value > max(least, JUMP * usual):
                text = (
                    f"{name} is {value:.3g} at step {step}; the median of the {len(past)} steps before is {usual:.3g}"
                )
                yield Finding(Kind.KL, step, text, _plot("kl"))
                return


def _against_past(steps: Sequence[Step], name: str) -> Iterator[tuple[float, int, list[float]]]:
    """The newest values with their steps, each with the finite ones before it; all without their signs."""
    found = [(step.step, abs(value)) for step in steps if math.isfinite(value := step.figure(name) or 0.0)]
    for at in range(max(FEWEST, len(found) - NEW), len(found)):
        step, value = found[at]
        yield value, step, [past for _, past in found[max(0, at - PAST) : at]]


def reward_collapse(steps: Sequence[Step], ranges: dict[Role, float]) -> Iterator[Finding]:
    """A player's reward falls, and the other one's does not rise by as much: nobody won what it lost."""
    for role, other in ((Role.ATTACKER, Role.ASSESSOR), (Role.ASSESSOR, Role.ATTACKER)):
        known = [step for step in steps if step.player(role).reward is not None]
        if len(known) < 2 * WINDOW or not ranges.get(role):
            continue
        means = [_mean_reward(known[at : at + WINDOW], role) for at in range(len(known) - WINDOW + 1)]
        best = max(range(len(means) - WINDOW), key=means.__getitem__, default=0)
        lost = means[best] - means[-1]
        gained = _mean_reward(known[-WINDOW:], other) - _mean_reward(known[best : best + WINDOW], other)
        if lost - max(0.0, gained) > DROP * ranges[role]:
            text = (
                f"the {role}'s mean reward fell from {means[best]:.2f} (steps {known[best].step} to "
                f"{known[best + WINDOW - 1].step}) to {means[-1]:.2f} (steps {known[-WINDOW].step} to {known[-1].step})"
            )
            yield Finding(Kind.REWARD, known[-1].step, text, _plot("rewards"))
            return


def _mean_reward(steps: Sequence[Step], role: Role) -> float:
    found = [step.player(role).reward for step in steps if step.player(role).reward is not None]
    return statistics.fmean(found) if found else 0.0


def length_collapse(first: Sequence[Step], steps: Sequence[Step]) -> Iterator[Finding]:
    for role in (Role.ASSESSOR, Role.ATTACKER):
        recent = steps[-SHORT_STEPS:]
        place = games(recent[0].step, recent[-1].step, (("role", role),)) if recent else None
        was, now = _words(first, role), _words(recent, role)
        if now is not None and (now < EMPTY or was is not None and now < SHORT * was):
            before = f"; it was {was:.1f} in the first {len(first)} steps" if was is not None else ""
            steps_seen = f"steps {recent[0].step} to {recent[-1].step}"
            text = f"the {role}'s thinking is {now:.1f} words long on average ({steps_seen}){before}"
            yield Finding(Kind.LENGTH, recent[-1].step, text, place)
            return
        was, now = _tokens(first, role), _tokens(recent, role)
        if was and now is not None and len(steps) > len(first) and now < SHORT * was:
            before = f"they were {was:.0f} in the first {len(first)} steps"
            text = f"the {role}'s replies are {now:.0f} tokens long on average; {before}"
            yield Finding(Kind.LENGTH, recent[-1].step, text, place)
            return
    yield from shrinking(steps)


def shrinking(steps: Sequence[Step]) -> Iterator[Finding]:
    """Thinking that gets shorter step after step, long before it is short."""
    for role in (Role.ASSESSOR, Role.ATTACKER):
        known = [(step.step, words) for step in steps if (words := _words([step], role)) is not None][-TREND - 1 :]
        lengths = [words for _, words in known]
        if len(known) <= TREND or sum(b < a for a, b in pairwise(lengths)) < FALLS:
            continue
        was, now = statistics.fmean(lengths[:ENDS]), statistics.fmean(lengths[-ENDS:])
        if now < LEFT * was:
            first, last = known[0][0], known[-1][0]
            text = (
                f"the {role}'s thinking gets shorter step after step: from {was:.1f} words to {now:.1f} "
                f"(steps {first} to {last})"
            )
            yield Finding(Kind.LENGTH, last, text, games(first, last, (("role", role),)))
            return


def _words(steps: Sequence[Step], role: Role) -> float | None:
    turns = sum(step.player(role).thoughts for step in steps)
    return sum(step.player(role).words for step in steps) / turns if turns >= WELL_KNOWN else None


def _tokens(steps: Sequence[Step], role: Role) -> float | None:
    found = [step.player(role).tokens for step in steps if step.player(role).tokens is not None]
    return statistics.fmean(found) if found else None


def _plot(name: str) -> Place:
    return Place("live", (("plot", name),))
