"""Why a trainer is gone, and what to do: sentences for the end of a run that crashed."""

import signal

from launcher.state import State, rebooted

NO_ROOM = "No space left on device"


def died(code: int | None, oom_kills: int) -> str:
    """As far as its exit tells. oom_kills: processes that the kernel ended for want of memory while it ran."""
    if code is None:
        return "the trainer ended while nobody watched, before the last step"
    if code < 0:
        name = signal.Signals(-code).name
        return f"the trainer was killed by {name}{_by_whom(name, oom_kills)}"
    starved = f", after the system had ended {_processes(oom_kills)} because memory ran out" if oom_kills else ""
    return f"the trainer ended with exit code {code} before it was done{starved}"


def _by_whom(name: str, oom_kills: int) -> str:
    if name != "SIGKILL":
        return ""
    if oom_kills:
        return f": memory ran out, and the system ended {_processes(oom_kills)}"
    return ", by somebody: the system did not run out of memory meanwhile"


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count} processes"


def unseen(now: State) -> str:
    """The same for a trainer whose end nobody saw."""
    if rebooted(now):
        return "the machine was started again while the run was going"
    if now.trainer is None:
        return f"{now.tries} supervisors ended before they started its trainer"
    return died(None, 0)


def what_to_do(saved: int, steps: int, oom_kills: int, told: str) -> str:
    """saved: step of the newest checkpoint. told: what is known of the error."""
    first = []
    if oom_kills:
        first.append("close other programs or lower the batch sizes")
    if NO_ROOM in told:
        first.append("make room on the disk")
    return "; ".join([*first, _onwards(saved, steps)])


def _onwards(saved: int, steps: int) -> str:
    if saved == 0:
        return "nothing was saved: start it anew"
    if saved < steps:
        return f"resume goes on from step {saved}"
    return f"the checkpoint of step {saved} is whole and the last, only the final model was not written"
