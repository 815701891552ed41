"""What each ingredient of the method is worth on the demo: `.venv/bin/python bench/learning.py`.

Trains every arm on every seed from the same start model, evaluates each final model on 200 held-out notes of the demo, and
writes a table and a figure to bench/results. Arms and seeds that are in learning.jsonl already are not run again, unless the
demo model or the bench's own numbers have changed since, so an interrupted bench goes on where it was. With `--arms` and
`--seeds` a part of it is run.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from bench.learning_report import table, write  # noqa: E402
from bench.other_agent import supervised  # noqa: E402
from launcher import config, evaluation_work, evaluations  # noqa: E402
from launcher.config import DEMO_MODEL  # noqa: E402
from launcher.evaluations import Request  # noqa: E402
from launcher.rundir import RunDir  # noqa: E402
from launcher.runs import Runs  # noqa: E402
from launcher.state import End  # noqa: E402
from medical_team.demo_model import recipe_fingerprint  # noqa: E402
from medical_team.evaluation import How  # noqa: E402
from medical_team.types import Label  # noqa: E402

RESULTS = PROJECT / "bench" / "results"
FROZEN = {"train.frozen_share": 0.25}


class Arm(NamedTuple):
    about: str
    preset: str
    settings: dict[str, Any]
    agent: Path | None = None
    """In place of the project's agent."""


ARMS = {
    "full": Arm("self-play, role baseline, frozen opponents in a quarter of the attacks", "cpu-demo", FROZEN),
    "no role baseline": Arm("OpenRLHF's batch mean alone", "cpu-demo", FROZEN | {"train.role_baseline": False}),
    "no frozen opponents": Arm("self-play alone: the preset as it is", "cpu-demo", {}),
    "attacker off": Arm(
        "two assessors on each note of the data set", "cpu-demo", {"custom_configs.no_attacker_turn": True}
    ),
    "single turn": Arm("the guide's reward function, two replies a note", "assessor-only", {}),
    "ancestor's reward": Arm(
        "an absolute judge, realism always paid", "cpu-demo", FROZEN, PROJECT / "bench" / "ancestor_agent.py"
    ),
}  # fmt: skip


def train(runs: Runs, arm: Arm, seed: int, steps: int) -> RunDir:
    """One run of the arm, to its end. Errors: RuntimeError for one that did not finish."""
    changes = {"seed": seed, "train.steps": steps, "eval.steps": 0, "checkpoint.steps": max(1, steps // 3)}
    run = runs.create(config.resolve(arm.preset, changes | arm.settings))
    if arm.agent:
        ended = supervised(runs, run, arm.agent, steps)
    else:
        runs.start(run)
        ended = runs.wait(run)
    if ended.state != End.DONE:
        raise RuntimeError(f"run {run.id} is {ended.state}: {ended.reason}; {run.path} has its log")
    return run


def measure(runs: Runs, run: RunDir, cases: int) -> dict[str, float | None]:
    """The final model, and the start model beside it, on notes that no run was trained on."""
    one = evaluations.create(runs, Request(models=(DEMO_MODEL, run.id), cases=cases, attack=True))
    ended = evaluation_work.work(runs, one)
    if ended.state != "done":
        raise RuntimeError(f"evaluation {one.id}: {ended.reason}")
    found = evaluations.result(one)
    values = {
        (column.name, column.how, column.role): {m.name: m.value for m in column.measures} for column in found.columns
    }
    cells = {
        (cell.attacker, cell.assessor): cell
        for cell in found.cells
        if (cell.label, cell.how) == (Label.HARMFUL, How.SAMPLED)
    }

    def of(player: str) -> dict[str, float | None]:
        greedy, sampled, attacker = (
            values[player, how, role]
            for how, role in (("greedy", "assessor"), ("sampled", "assessor"), ("sampled", "attacker"))
        )
        return {
            "accuracy_greedy": greedy["accuracy"], "accuracy_sampled": sampled["accuracy"],
            "specificity_sampled": sampled["specificity"], "faithful": attacker["faithful"],
            "attack_success": cells[player, DEMO_MODEL].deceived / cases,
            "deceives_start": cells[player, DEMO_MODEL].success, "deceived_by_start": cells[DEMO_MODEL, player].success,
        }  # fmt: skip

    return of(run.id) | {f"start_{name}": value for name, value in of(DEMO_MODEL).items()}


def result(runs: Runs, arm: str, seed: int, steps: int, cases: int) -> dict[str, Any]:
    """A line of learning.jsonl."""
    begun = time.time()
    run = train(runs, ARMS[arm], seed, steps)
    trained = time.time()
    values = measure(runs, run, cases)
    return {
        "arm": arm, "seed": seed, "run": run.id, "steps": steps, "cases": cases, "recipe": recipe_fingerprint(),
        "train_s": round(trained - begun, 1), "evaluate_s": round(time.time() - trained, 1),
    } | values  # fmt: skip


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def known(path: Path, steps: int, cases: int) -> list[dict[str, Any]]:
    """The lines of runs as they would be made now: from the same demo model, as long, measured on as many cases."""
    now = {"steps": steps, "cases": cases, "recipe": recipe_fingerprint()}
    return [line for line in read(path) if now.items() <= line.items()]


def main() -> None:
    asked = parser().parse_args()
    os.environ.setdefault("SECOND_OPINION_RUNS", str(PROJECT / "runs" / "learning"))
    asked.out.mkdir(parents=True, exist_ok=True)
    results, runs = asked.out / "learning.jsonl", Runs.here()
    about = {name: arm.about for name, arm in ARMS.items()}
    for seed in asked.seeds:
        for arm in asked.arms:
            if any((one["arm"], one["seed"]) == (arm, seed) for one in known(results, asked.steps, asked.cases)):
                continue
            line = json.dumps(result(runs, arm, seed, asked.steps, asked.cases))
            with results.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            print(line, file=sys.stderr, flush=True)
            write(asked.out, known(results, asked.steps, asked.cases), about)
    print(table(known(results, asked.steps, asked.cases), about))


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    found.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    found.add_argument("--steps", type=int, default=70)
    found.add_argument("--cases", type=int, default=100, help="held-out cases; each gives two notes")
    found.add_argument("--out", type=Path, default=RESULTS)
    return found


if __name__ == "__main__":
    main()
