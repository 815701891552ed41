"""After a run: what was estimated beside what was measured."""

from collections.abc import Iterable
from typing import NamedTuple

from launcher.memory import Part, Phase, Plan
from launcher.store import MemoryPoint
from launcher.trainer_log import Phase as Doing

MIB = 2**20

# What the trainer was doing -> the phase of the plan. While it loads, saves or ends nothing is estimated.
PHASES = {
    Doing.GENERATING: Phase.ROLLOUT,
    Doing.EVALUATING: Phase.ROLLOUT,
    Doing.EXPERIENCE: Phase.EXPERIENCE,
    Doing.TRAINING: Phase.TRAINING,
    Doing.BROADCASTING: Phase.SYNC,
}


class Compared(NamedTuple):
    """Bytes. `part` None is the whole GPU."""

    part: Part | None
    estimated: int
    measured: int

    @property
    def off(self) -> float | None:
        """How far the estimate lies above (or below) what was measured, as a share of it; None if nothing was."""
        return (self.estimated - self.measured) / self.measured if self.measured else None


def compare(plan: Plan, points: Iterable[MemoryPoint]) -> tuple[Compared, ...]:
    """The run's peak, of the whole and by part, over the phases that are estimated. Of one GPU.

    The samples are a second apart, and NVML tells what PyTorch reserved, not what it used: a run with room to spare
    reserves more than it needs.
    """
    worked = [point for point in points if point.source == "nvml" and point.phase in PHASES]
    whole = Compared(None, plan.peak, int(MIB * max((point.total_mb for point in worked), default=0)))
    return whole, *(
        Compared(part, plan.peak_of(part), int(MIB * max((point.roles.get(part, 0.0) for point in worked), default=0)))
        for part in Part
    )
