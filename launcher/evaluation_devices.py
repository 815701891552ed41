"""The GPU of an evaluation. It is taken as a run's is, so that neither begins where the other works."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from launcher import devices, queue
from launcher.runs import Refused


@contextmanager
def held(runs: Path, evaluation: str, device: str) -> Iterator[Mapping[str, str]]:
    """Keeps one GPU for the evaluation, if it works on GPUs; the environment that shows its worker no other.

    Errors: Refused.
    """
    if device != devices.GPUS:
        yield {}
        return
    try:
        with ExitStack() as kept:
            with queue.held(runs):
                names = free(runs)[:1]
                devices.give(runs, names, evaluation)
                kept.enter_context(devices.held(runs, names))
            yield devices.visible(names)
    finally:
        queue.advance(runs)  # a run may have come to wait for it


def free(runs: Path) -> list[str]:
    """The GPUs that nobody has. Errors: Refused."""
    present = devices.present(devices.GPUS)
    if present == []:
        raise Refused("this machine shows no GPU: evaluate on the CPU")
    names = devices.free(runs, present or ["gpu-0"])
    if not names:
        runs_there = ", ".join(run.id for run in devices.holders(runs)) or "another evaluation"
        raise Refused(f"every GPU is taken, by {runs_there}: evaluate when that has ended, or on the CPU")
    return names
