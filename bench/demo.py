"""The demo, timed: `.venv/bin/python bench/demo.py [SEED …]`. Prints one table, a row per seed.

From the start of the command to the end of the first step, a step, the whole run; peak memory; and the assessor's accuracy
on held-out notes: as the warm start left it, and at the run's last evaluation.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from launcher import report, runs  # noqa: E402

HEADS = ("seed", "first step s", "a step s", "whole run s", "peak GB", "correct before", "correct after", "steps")


def launch(*words: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "launcher", "run", "--preset", "cpu-demo", *words, "--wait", "--json"],
        cwd=PROJECT, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def row(seed: str) -> tuple:
    begun = time.time()
    shown = launch("--set", f"seed={seed}")
    whole = time.time() - begun
    skill = json.loads((runs.DEMO_MODEL_FOLDER / "skill.json").read_text())
    return (
        seed,
        first_step_over(shown["id"]) - begun,
        statistics.median(seconds for _, seconds in shown["metrics"]["timing/step_total"]),
        whole,
        max(total for _, _, total, _ in shown["memory"]) / 1024,
        skill["assessor_greedy"],
        statistics.mean(shown["metrics"][f"eval_vanilla_{kind}_pass1"][-1][1] for kind in ("harmful", "benign")),
        shown["step"],
    )


def first_step_over(run: str) -> float:
    """Unix seconds at which the second step's first game began: the first step was over by then."""
    games = subprocess.run(
        [sys.executable, "-m", "launcher", "games", run, "--step", "2", "--mode", "train", "--json"],
        cwd=PROJECT, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return min(game["started"] for game in json.loads(games.stdout)["games"])


def main(seeds: list[str]) -> None:
    print(f"{os.cpu_count()} cores, {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GB")
    print(report.columns([HEADS, *map(row, seeds)]))


if __name__ == "__main__":
    main(sys.argv[1:] or ["42"])
