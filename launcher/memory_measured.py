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
    """Bytes, on all GPUs together. `part` None is the whole run."""

    part: Part | None
    estimated: int
    measured: int

    @property
    def off(self) -> float | None:
        """How far the estimate lies above (or below) what was measured, as a share of it; None if nothing was."""
        return (self.estimated - self.measured) / self.measured if self.measured else None


def compare(plan: Plan, points: Iterable[MemoryPoint]) -> tuple[Compared, ...]:
    """The run's peak, of the whole and by part, over the phases that are estimated.

    The samples are a second apart, and NVML tells what PyTorch reserved, not what it used: a run with room to spare
    reserves more than it needs.
    """
    worked = [point for point in points if point.source == "nvml" and point.phase in PHASES]
    whole = Compared(None, max(plan.everywhere(phase) for phase in Phase), _most(point.total_mb for point in worked))
    return whole, *(
        Compared(
            part,
            max(plan.everywhere(phase, part) for phase in Phase),
            _most(point.roles.get(part, 0.0) for point in worked),
        )
        for part in Part
    )


def _most(sizes: Iterable[float]) -> int:
    """The greatest of sizes in MiB."""
    return int(MIB * max(sizes, default=0.0))
