"""A run of any size, written and ingested once: `python -m bench.big_run FOLDER [--steps N] [--games N]`.

`bench.dashboard` shows it in a browser. Metrics have OpenRLHF's names, every step its games, and memory is sampled every
two seconds, as often as a step ends. A folder that holds the run already is left as it is.
"""

import argparse
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path

from bench.ingest import game_line, writer
from launcher import rundir, state
from launcher.config import resolve
from launcher.ingest import ingest
from launcher.rundir import RunDir
from launcher.state import End, State
from launcher.store import Store

ID = "20260101-000000-b16b"
BEGAN, STEP_SECONDS = 1.7e9, 2.0
LINE = "(PPOTrainer pid=7) INFO 11-22 13:56:52 ppo_trainer.py:551] ✨ Global step {step}: {values}\n"
PHASES = ("make_experience", "generation", "ppo_train", "broadcast", "reference", "log_probs", "weight_sync", "save")
CURVES = (
    "reward", "return", "kl", "ppo_kl", "vllm_kl", "policy_loss", "actor_grad_norm", "actor_lr", "response_length",
    "total_length", "rollout/truncated_rate",
)  # fmt: skip
NAMES = (*CURVES, *(f"timing/{phase}" for phase in PHASES), "timing/step_total")
STOCK = 5000
ROLES = ("policy", "policy", "reference", "rollout", "ray", "ray", "ray", "other")


def values(step: int, dice: random.Random) -> dict[str, float]:
    """The step's twenty metrics: a curve that rises and flattens, with noise."""
    level = 1 - math.exp(-step / 20_000)
    found = {name: level + dice.gauss(0, 0.2) for name in CURVES}
    found |= {f"timing/{phase}": dice.uniform(0.1, 0.3) for phase in PHASES}
    return found | {"timing/step_total": STEP_SECONDS + dice.uniform(-0.2, 0.2)}


def values_of(steps: int) -> Iterator[tuple[int, dict[str, float]]]:
    """Every step with its metrics, the same ones every time."""
    dice = random.Random(1)
    return ((step, values(step, dice)) for step in range(1, steps + 1))


def memory_lines(count: int) -> Iterator[str]:
    dice = random.Random(4)
    for index in range(count):
        held = [
            {"pid": 100 + at, "name": f"ray::worker{at}", "role": role, "mb": round(dice.uniform(200, 400), 1)}
            for at, role in enumerate(ROLES)
        ]
        total = sum(process["mb"] for process in held)
        point = {"time": BEGAN + STEP_SECONDS * index, "phase": "generating", "source": "pss", "total_mb": total}
        yield json.dumps(point | {"processes": held}) + "\n"


def games_of(count: int, run: str, per_step: int) -> Iterator[str]:
    """Games that draw their texts from a stock: a million new ones would take an hour to write."""
    dice = random.Random(2)
    write_text = writer(dice)
    stock = {length: [write_text(length) for _ in range(STOCK)] for length in (30, 60, 80)}
    return (
        game_line(index, index // per_step + 1, run, dice, lambda length: dice.choice(stock[length]))
        for index in range(count)
    )


def write(run: RunDir, steps: int, games: int) -> None:
    run.games.mkdir(parents=True)
    config = resolve("cpu-demo", {"name": "big", "train.steps": steps})
    with run.log(1).open("w", encoding="utf-8", newline="\n") as log:
        log.writelines(LINE.format(step=step, values=found) for step, found in values_of(steps))
    with run.memory.open("w", encoding="utf-8", newline="\n") as log:
        log.writelines(memory_lines(steps))
    with (run.games / "1-7.jsonl").open("w", encoding="utf-8", newline="\n") as log:
        log.writelines(games_of(games, run.id, games // steps))
    ended = BEGAN + STEP_SECONDS * steps
    done = State(state=End.DONE, phase=End.DONE, step=steps, steps=steps, started=BEGAN, ended=ended, last_event=ended)
    state.write(run, done)
    rundir.write_json(run.config, {"id": run.id, "created": BEGAN} | config.model_dump(mode="json"))


def built(folder: Path, steps: int, games: int) -> RunDir:
    """The run in this folder of runs, with its index."""
    run = RunDir(folder / ID)
    if not run.config.exists():
        write(run, steps, games)
    with Store(folder / "runs.db") as store:
        ingest(store, run.path)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--games", type=int, default=1_000_000)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    print(built(asked.folder.resolve(), asked.steps, asked.games).path)


if __name__ == "__main__":
    main()
