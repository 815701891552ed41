"""A run that has gone silent, and a machine that runs out of disk or memory. Pure, as `health` is."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from launcher.health import Finding, Kind, Place

UNKNOWN = 600.0
"""Seconds of silence in a phase that the run has not gone through often enough to know it: loading compiles in silence."""

KNOWN, PASSES, LONGER = 60.0, 3, 10.0
"""A phase that the run has left so many times may be silent for so many times its longest silence; at least a minute."""

DISK_MB, CHECKPOINTS = 2048.0, 1.5
"""Free disk: so much, and so many times the newest checkpoint: the next may be larger."""

MEMORY_SHARE, MEMORY_MB = 0.03, 300.0
"""Free main memory: that share of it, and so much."""


class Pattern(NamedTuple):
    """What is known of one phase."""

    passes: int = 0
    longest: float = 0.0
    """Seconds between two signs of life."""


@dataclass(frozen=True)
class Silences:
    """How long a run is silent in each of its phases, learnt from the run itself."""

    phase: str = ""
    patterns: MappingProxyType[str, Pattern] = field(default_factory=lambda: MappingProxyType({}))

    def heard(self, phase: str, gap: float) -> "Silences":
        """The run gave a sign of life after `gap` seconds, and is in this phase now."""
        known = dict(self.patterns)
        before = known.get(self.phase, Pattern())
        known[self.phase] = Pattern(before.passes + (phase != self.phase), max(before.longest, gap))
        return Silences(phase, MappingProxyType(known))

    def bound(self) -> float:
        """Seconds of silence after which the run has stalled."""
        known = self.patterns.get(self.phase, Pattern())
        return max(KNOWN if known.passes >= PASSES else UNKNOWN, LONGER * known.longest)


class Machine(NamedTuple):
    """What the machine has left; None for what could not be read."""

    disk_free_mb: float
    checkpoint_mb: float
    """Size of the newest checkpoint; 0 before there is one."""
    memory_free_mb: float | None = None
    memory_mb: float | None = None


def stalled(silences: Silences, silent: float, step: int) -> Iterator[Finding]:
    bound = silences.bound()
    if silent > bound:
        longest = silences.patterns.get(silences.phase, Pattern()).longest
        text = (
            f"nothing was printed for {silent:.0f} s in the phase {silences.phase}; "
            f"the longest silence there was {longest:.0f} s"
        )
        yield Finding(Kind.STALLED, step, text, Place("logs"))


def running_out(machine: Machine, step: int) -> Iterator[Finding]:
    place = Place("live", (("plot", "memory"),))
    least = max(DISK_MB, CHECKPOINTS * machine.checkpoint_mb)
    if machine.disk_free_mb < least:
        text = f"{machine.disk_free_mb:.0f} MB of disk are left; the next checkpoint may need {least:.0f} MB"
        yield Finding(Kind.DISK, step, text, place)
    if machine.memory_free_mb is None or machine.memory_mb is None:
        return
    if machine.memory_free_mb < max(MEMORY_MB, MEMORY_SHARE * machine.memory_mb):
        text = f"{machine.memory_free_mb:.0f} MB of {machine.memory_mb:.0f} MB main memory are left"
        yield Finding(Kind.MEMORY, step, text, place)
