"""A run's checkpoints as OpenRLHF and DeepSpeed leave them: checkpoints/_actor/global_stepN, and `latest`, a name."""

import re
from pathlib import Path

from launcher.rundir import RunDir

_NAME = re.compile(r"global_step(\d+)")


def checkpoint_step(rundir: RunDir) -> int:
    """Step of the newest whole checkpoint, 0 without one.

    DeepSpeed writes `latest` once a checkpoint is whole, and not in one go: a kill in that moment leaves it empty, with all
    folders whole. OpenRLHF deletes old checkpoints before it saves: `latest` may name one that is gone, and then whatever is
    newer is not whole.
    """
    latest = rundir.checkpoints / "_actor" / "latest"
    if not latest.exists():
        return 0
    named = _NAME.fullmatch(latest.read_text(encoding="utf-8", errors="replace").strip())
    there = _steps(latest.parent)
    return max((step for step in there if named is None or step <= int(named[1])), default=0)


def _steps(folder: Path) -> list[int]:
    return [int(found[1]) for path in folder.iterdir() if (found := _NAME.fullmatch(path.name)) and path.is_dir()]


def resume_step(rundir: RunDir, told: int) -> int:
    """Step of the checkpoint to go on from. told: the last step that the trainer's log has.

    It is the newest whole one, but rather one before it than a step without metrics: a full disk may have cut the line of
    the step that was saved.
    """
    newest = checkpoint_step(rundir)
    if newest <= told:
        return newest
    return max((step for step in _steps(rundir.checkpoints / "_actor") if step <= told), default=newest)


def settle(rundir: RunDir, told: int) -> int:
    """Makes `latest` name the checkpoint of `resume_step`, which is where the trainer goes on; its step."""
    step, latest = resume_step(rundir, told), rundir.checkpoints / "_actor" / "latest"
    if step and latest.read_text(encoding="utf-8", errors="replace").strip() != f"global_step{step}":
        part = latest.with_name(".latest.part")
        part.write_text(f"global_step{step}", encoding="utf-8")
        part.replace(latest)
    return step
