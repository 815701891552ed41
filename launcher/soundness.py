"""What is wrong with a trainer that still runs. Such a run is ended: what it goes on to make is worth nothing, or lost."""

import math
import time
from collections.abc import Iterable

import psutil

from launcher.config import RunConfig
from launcher.ray_log import Monitor, find_monitor
from launcher.state import State
from launcher.store import Store
from launcher.trainer_log import CREATION, Phase

DEAD_SYNC = 0.01
"""|vllm_kl| from which, two steps in a row, rollouts no longer come from the weights in training; about 1e-4 is healthy, and
one step of a few short replies may be off by chance."""

DEAF = 1.0
"""Seconds that Ray's log monitor has to be gone with Ray going on: whoever ends both does not do it at one moment."""


class Soundness:
    """What was seen of one start of a run's trainer, from the step on that it started with."""

    def __init__(self, run: str, config: RunConfig, store: Store, step: int):
        self.run, self.config, self.store = run, config, store
        self.synced = step
        """Step up to which the weight sync was seen to be alive."""
        self.monitor: Monitor | None = None
        self.heard_until = time.monotonic()
        """When Ray's log monitor was last seen alive."""

    def know(self, processes: Iterable[psutil.Process]) -> None:
        """Finds Ray's log monitor among the run's processes, once Ray is up."""
        self.monitor = self.monitor or find_monitor(processes)

    def fault(self, now: State) -> str | None:
        """Why the run is to be ended, in a sentence; None as long as it is sound."""
        return self._dead_sync() or self._dead_actor(now) or self._deaf()

    def _dead_sync(self) -> str | None:
        """A CPU job syncs weights through patches of ours; one that no longer fits fails without an error."""
        if self.config.device != "cpu":
            return None
        for step, value in self.store.series(self.run, "vllm_kl", self.synced):
            if abs(value) < DEAD_SYNC:
                self.synced = step
            elif step > self.synced + 1 or not math.isfinite(value):
                return (
                    f"the weight sync from trainer to rollout engine is dead: vllm_kl is {value:g} at step {step}, "
                    f"healthy is below {DEAD_SYNC}; `python -m launcher engine check --device cpu` checks the engine"
                )
        return None

    def _dead_actor(self, now: State) -> str | None:
        """Ray starts no actor twice, and OpenRLHF may wait five minutes for one that has failed."""
        if now.phase != Phase.LOADING:  # later the log has texts of models in it
            return None
        failure = self.store.failure(self.run)
        if failure and failure.attempt == now.attempt and CREATION in failure.traceback.split("\n", 1)[0]:
            return f"a process of the trainer could not start: {failure.summary}"
        return None

    def _deaf(self) -> str | None:
        """Without Ray's log monitor steps are made, and checkpoints saved, of which the trainer's log tells nothing."""
        if not self.monitor or not self.monitor.gone:
            self.heard_until = time.monotonic()
        if time.monotonic() < self.heard_until + DEAF:
            return None
        return f"Ray's log monitor, process {self.monitor.log_monitor.pid}, was killed: nothing more is heard of the trainer"
