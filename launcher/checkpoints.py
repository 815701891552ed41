"""A run's checkpoints as OpenRLHF and DeepSpeed leave them: checkpoints/_actor/global_stepN, and `latest`, a name.

Beside them, checkpoints/global_stepN_hf: the model alone in the Hugging Face format, where it is wanted.
"""

import re
from pathlib import Path

from launcher.config import RunConfig
from launcher.rundir import RunDir
from medical_team.opponents import SAVED_LAST

_NAME, _MODEL = re.compile(r"global_step(\d+)"), re.compile(r"global_step\d+_hf")


def kept(config: RunConfig) -> int:
    """How many of each kind are left: one of them may be broken off."""
    return max(2, config.checkpoint.keep)


def has_models(config: RunConfig) -> bool:
    """Each checkpoint is saved in the Hugging Face format, too; frozen opponents are loaded from there."""
    return config.checkpoint.huggingface or config.train.frozen_share > 0


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


def steps(rundir: RunDir) -> list[int]:
    """Steps of all whole checkpoints, in order."""
    newest = checkpoint_step(rundir)
    return sorted(step for step in _steps(rundir.checkpoints / "_actor") if step <= newest) if newest else []


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


def saved(rundir: RunDir, step: int, config: RunConfig, log: Path) -> bool:
    """The save after this step is over, as far as it can be told: the trainer has printed something since.

    DeepSpeed writes `latest` before OpenRLHF saves the model beside it and waits for the other GPUs' processes, and neither
    says when that is done; the next games begin with a line.
    """
    last = [rundir.checkpoints / "_actor" / "latest"]
    if has_models(config):
        last.append(rundir.checkpoints / f"global_step{step}_hf" / SAVED_LAST)
    try:
        return max(file.stat().st_mtime_ns for file in last) < log.stat().st_mtime_ns
    except FileNotFoundError:
        return False


def old_models(rundir: RunDir, keep: int) -> list[Path]:
    """The folders global_stepN_hf that are older than the newest `keep` whole ones. OpenRLHF deletes none of them.

    Their age is that of their files: a run that went on from an earlier step writes the same names again. One that is being
    written is therefore never among them.
    """
    found = [folder for folder in rundir.checkpoints.glob("global_step*_hf") if _MODEL.fullmatch(folder.name)]
    found.sort(key=_written, reverse=True)
    whole = [folder for folder in found if (folder / SAVED_LAST).exists()]
    return found[found.index(whole[keep - 1]) + 1 :] if len(whole) >= keep else []


def _written(folder: Path) -> int:
    return max((file.stat().st_mtime_ns for file in (folder, *folder.iterdir())), default=0)
