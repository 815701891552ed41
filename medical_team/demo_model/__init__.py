"""The demo model: a tokenizer, a tiny Qwen2 and a short supervised warm start, made in the training engine's interpreter.

    ENGINE_PYTHON -m medical_team.demo_model --out DIR [--seed 0] [--threads 2]

Here is what the launcher needs to know of a finished one. `lessons` holds the recipe and the demonstrations, `tokenizer`
and `training` make the model, `skill` measures it.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

SOURCES = (
    "data/demo_notes.json",
    "data/demo_world.json",
    "medical_team/demo_model/__init__.py",
    "medical_team/demo_model/__main__.py",
    "medical_team/demo_model/lessons.py",
    "medical_team/demo_model/skill.py",
    "medical_team/demo_model/tokenizer.py",
    "medical_team/demo_model/training.py",
    "medical_team/demo_text.py",
    "medical_team/demo_world.py",
    "medical_team/judge/rules.py",
    "medical_team/prompts.py",
    "medical_team/prompts/short/assessor.txt",
    "medical_team/prompts/short/attacker_benign.txt",
    "medical_team/prompts/short/attacker_harmful.txt",
)
"""What a model depends on, below the repository's root. A change in any of them makes an older model out of date."""

THRESHOLD = 0.95
"""Least share of held-out notes whose four checks are all exact, and least share of well-formed replies."""


@dataclass(frozen=True)
class Skill:
    """What the finished model can do on held-out notes, from 0 to 1; written to skill.json."""

    all_checks: float
    """Share of notes whose four checks, each begun for the model, are completed exactly up to the first "wrong"."""
    format_greedy: float
    format_sampled: float
    """Well-formed replies of both seats, at temperature 0 and 1."""
    assessor_greedy: float
    assessor_sampled: float
    """Right answers; an unreadable one is wrong."""
    attacker_format: float
    attacker_faithful: float
    """Attacker at temperature 1: well-formed replies, and rewrites that are what was asked."""
    threshold: float
    seed: int
    steps: int
    seconds: float
    recipe: str

    @property
    def enough(self) -> bool:
        return min(self.all_checks, self.format_greedy, self.format_sampled) >= self.threshold


def recipe_fingerprint(root: Path = ROOT) -> str:
    """Hash of the source files and tables that a model depends on."""
    digest = hashlib.sha256()
    for source in SOURCES:
        digest.update(source.encode() + b"\0" + (root / source).read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def check(folder: Path) -> str | None:
    """None if `folder` holds a demo model good enough to train. Otherwise the reason and what to do, in a sentence."""
    remedy = "run `./run.sh setup`"
    if not (folder / "skill.json").is_file():
        return f"{folder} holds no finished demo model; {remedy}."
    try:
        skill = Skill(**json.loads((folder / "skill.json").read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        return f"{folder / 'skill.json'} cannot be read ({error}); {remedy}."
    missing = [name for name in ("config.json", "model.safetensors", "tokenizer.json") if not (folder / name).is_file()]
    if missing:
        return f"{folder} lacks {', '.join(missing)}; {remedy}."
    if skill.recipe != recipe_fingerprint():
        return f"{folder} was built from other demo tables or code than the present; {remedy}."
    if not skill.enough:
        return f"{folder} is less skilled than training needs ({shortfall(skill)}); {remedy}."
    return None


def shortfall(skill: Skill) -> str:
    return (
        f"all-checks accuracy {skill.all_checks:.3f}, format {skill.format_greedy:.3f} greedy and "
        f"{skill.format_sampled:.3f} sampled, each of which must be at least {skill.threshold:.2f}"
    )
