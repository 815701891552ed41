"""Builds the demo model."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from medical_team.demo_model import Skill, recipe_fingerprint, shortfall
from medical_team.demo_model.lessons import Recipe
from medical_team.demo_model.skill import measure
from medical_team.demo_model.tokenizer import build_tokenizer
from medical_team.demo_model.training import build_model, warm_start


def build(out: Path, seed: int, threads: int, recipe: Recipe, report: Callable[[str], None]) -> Skill:
    """Build in a folder beside `out` and move it there if the model is skilled enough, in place of what stood there."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # on a busy machine threads that spin as they wait cost tenfold
    import torch

    started, fingerprint = time.monotonic(), recipe_fingerprint()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        folder = Path(scratch) / "model"
        report("progress 0.00 tokenizer")
        tokenizer = build_tokenizer(folder, recipe)
        model = build_model(tokenizer, recipe)
        steps = warm_start(model, tokenizer, recipe, seed, report)
        model.to(torch.bfloat16).save_pretrained(folder)
        report("progress 1.00 measuring")
        skill = measure(folder, seed, steps, started, fingerprint)
        (folder / "skill.json").write_text(json.dumps(asdict(skill), indent=2) + "\n", encoding="utf-8")
        if skill.enough:
            if out.exists():
                out.rename(Path(scratch) / "replaced")
            folder.rename(out)
    return skill


def main(arguments: list[str] | None = None, recipe: Recipe | None = None) -> int:
    """Returns the exit code: 0 with a finished model in its place, 1 where its skill was too low to keep it."""
    parser = argparse.ArgumentParser(prog="python -m medical_team.demo_model", description="Build the demo model.")
    parser.add_argument("--out", type=Path, required=True, help="folder that the finished model is moved to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    args = parser.parse_args(arguments)
    skill = build(args.out, args.seed, args.threads, recipe or Recipe(), lambda line: print(line, flush=True))
    print(json.dumps(asdict(skill)), flush=True)
    if not skill.enough:
        print(f"The model is not skilled enough to train: {shortfall(skill)}. Try another --seed.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
