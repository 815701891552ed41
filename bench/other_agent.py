"""A run with another agent than the project's own, which the launcher does not offer."""

import time
from pathlib import Path

from launcher import command, state, supervise
from launcher.rundir import RunDir
from launcher.runs import Runs
from launcher.state import State


def supervised(runs: Runs, run: RunDir, agent: Path, steps: int) -> State:
    """Runs it to its end, in this process and past the queue; how it ended."""
    ours, command.AGENT = command.AGENT, agent
    now = time.time()
    state.write(run, State(steps=steps, started=now, last_event=now))
    try:
        return supervise.supervise(run, runs.store_path)
    finally:
        command.AGENT = ours
