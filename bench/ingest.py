"""How fast files become rows: `python -m bench.ingest [--steps N] [--games N]`. Prints one table.

Synthetic logs and games; the same metric rows go through sqlite-utils' upsert_all and a plain executemany for
comparison, in the same process. A rate is rows by seconds of one core; peak memory is the ingesting process's.
"""

import argparse
import json
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from sqlite_utils import Database

from launcher.ingest import ingest
from launcher.store import Store
from launcher.store_charts import rewards
from launcher.store_page import GameFilter, Sort, page
from medical_team.records import GameRecord

NAMES = [f"timing/part_{index}" for index in range(20)]
GAMES_PER_STEP = 10
VOCABULARY = 3000


def log_lines(steps: int) -> Iterator[str]:
    """Steps of 20 metrics as OpenRLHF prints them, with two bars and a weight line each."""
    dice = random.Random(1)
    for step in range(1, steps + 1):
        values = {name: dice.random() for name in NAMES}
        yield f"(PPOTrainer pid=7) \rEpisode [1/1]:  25%|##▌       | {step}/{steps} [00:01<00:03,  6.19it/s]\n"
        yield "(PolicyModelActor pid=8) \rTrain epoch [1/1]:   0%|          | 0/2 [00:00<?, ?it/s, act_loss=0.795]\n"
        yield "(RolloutRayActor pid=9) (EngineCore pid=10) update weight: lm_head.weight, dtype: torch.bfloat16\n"
        yield f"(PPOTrainer pid=7) INFO 11-22 13:56:52 ppo_trainer.py:551] ✨ Global step {step}: {values}\n"


def game_lines(count: int, run: str) -> Iterator[str]:
    """Games of both kinds, about 6 kB each, in the proportions of a training run."""
    dice = random.Random(2)
    text = writer(dice)
    for index in range(count):
        yield game_line(index, index // GAMES_PER_STEP + 1, run, dice, text)


def writer(dice: random.Random) -> Callable[[int], str]:
    """Writes texts of so many words, common ones and rare ones."""
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(3, 11))) for _ in range(VOCABULARY)]
    weights = [1 / rank for rank in range(1, VOCABULARY + 1)]
    return lambda length: " ".join(dice.choices(words, weights, k=length))


def game_line(index: int, step: int, run: str, dice: random.Random, text: Callable[[int], str]) -> str:
    category = ("vanilla_harmful", "vanilla_benign", "adversarial_harmful", "adversarial_benign")[index % 4]
    attacked, seed = index % 4 > 1, text(80)
    note = text(80) if attacked else seed
    truth = dice.choice(("Safe", "Harmful"))
    tie, faithful, realistic = dice.random() < 0.03, dice.random() < 0.7, dice.random() < 0.5
    roles = ("attacker", "assessor") if attacked else ("assessor", "assessor")
    turns = [
        _turn(seat, role, seed, note, truth, dice.choice(("Safe", "Harmful")), faithful, realistic, text, dice)
        for seat, role in enumerate(roles)
    ]
    verdict = {
        "label": None if tie else truth, "p_harm": dice.random(), "same_meaning": None,
        "faithful": faithful if attacked else None, "realistic": realistic, "p_realistic": dice.random(),
        "valid": not tie, "reason": "abstain" if tie else "ok",
        "source": dice.choice(("logit", "explain", "cache")) if attacked else "dataset", "rationale": text(30),
        "raw": None, "latency_ms": 3.0, "judge": "bench 1",
    }  # fmt: skip
    values = {
        "schema_version": 1, "run": run, "attempt": 1, "game": f"1-7-{index}", "sample": f"s{index % 638}",
        "case": f"c{index % 319}", "mode": "train", "step": step, "category": category,
        "error_type": "dosage", "opponent": "self", "seed_note": seed, "clean_note": seed, "note": note, "turns": turns,
        "verdict": verdict, "attack_verdict": None, "truth": None if tie else truth, "valid": not tie,
        "drop_reason": "tie: abstain" if tie else None, "started": 1.7e9 + index, "ended": 1.7e9 + index + 1,
    }  # fmt: skip
    return json.dumps(values) + "\n"


def _turn(seat, role, seed, note, truth, answer, faithful, realistic, text, dice) -> dict:
    right = answer == truth
    parts = {"format": dice.choice((1.0, 1.0, 1.0, -1.0))}
    if role == "assessor":
        parts["verdict"] = 1.0 if right else -1.0
    else:
        parts |= {"faithful": 0.5, "deception": -1.0 if right else 1.0} if faithful else {"faithful": -1.0}
        parts |= {"realism": 0.5 if realistic else -0.5} if faithful else {}
    raw = sum(parts.values())
    return {
        "seat": seat, "trained": True, "role": role, "prompt": f"Instructions. {seed}",
        "raw": f"{text(60)} </think> {answer}", "thinking": text(60),
        "answer": answer if role == "assessor" else note, "format_ok": parts["format"] > 0, "format_reason": "ok",
        "tokens": dice.randint(40, 160), "truncated": False, "latency_ms": 12.5,
        "correct": right if role == "assessor" else None, "rewards": parts, "raw_reward": raw, "baseline": 0.1,
        "sent_reward": raw - 0.1,
    }  # fmt: skip


def write_run(folder: Path, steps: int, games: int) -> None:
    (folder / "games").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"id": folder.name, "created": 1.7e9}))
    with (folder / "train.log").open("w", encoding="utf-8", newline="\n") as log:
        log.writelines(log_lines(steps))
    with (folder / "games" / "1-7.jsonl").open("w", encoding="utf-8", newline="\n") as log:
        log.writelines(game_lines(games, folder.name))


def seconds(call) -> float:
    """Processor time: other jobs on the machine do not count."""
    start = time.process_time()
    call()
    return time.process_time() - start


def time_ingest(folder: Path) -> tuple[float, float, float]:
    """Seconds for the metrics, seconds for the games, peak memory in MB. Runs in a process of its own."""
    games = folder / "games" / "1-7.jsonl"
    aside = games.rename(folder / "aside")
    with Store(folder.parent / "runs.db") as store:
        metrics = seconds(lambda: ingest(store, folder))
        aside.rename(games)
        rest = seconds(lambda: ingest(store, folder))
    return metrics, rest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def metric_rows(steps: int) -> list[tuple]:
    dice = random.Random(1)
    return [("run", name, step, dice.random()) for step in range(1, steps + 1) for name in NAMES]


def time_plain(folder: Path, steps: int) -> float:
    rows, connection = metric_rows(steps), sqlite3.connect(folder / "plain.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(
        """CREATE TABLE metrics (run TEXT, name TEXT, step INTEGER, value REAL, PRIMARY KEY (run, name, step))
        WITHOUT ROWID"""
    )

    def insert() -> None:
        with connection:
            connection.executemany("INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?)", rows)

    taken = seconds(insert)
    connection.close()
    return taken


def time_upsert_all(folder: Path, steps: int) -> float:
    rows = [dict(zip(("run", "name", "step", "value"), row, strict=True)) for row in metric_rows(steps)]
    database = Database(folder / "upsert.db")
    database.enable_wal()
    taken = seconds(lambda: database["metrics"].upsert_all(rows, pk=("run", "name", "step")))
    database.close()
    return taken


def p95(call, arguments) -> float:
    """Milliseconds of wall time."""
    times = []
    for argument in arguments:
        start = time.perf_counter()
        call(argument)
        times.append((time.perf_counter() - start) * 1000)
    return at_p95(times)


def at_p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


def filters() -> list[GameFilter]:
    """What someone may ask of the page of games: common, rare and impossible."""
    singles = [
        {}, {"category": "vanilla_benign"}, {"outcome": "attacker won"}, {"outcome": "tie"}, {"label": "none"},
        {"source": "explain", "role": "attacker"}, {"lowest": 2.5}, {"role": "assessor", "highest": -2.0},
        {"category": "vanilla_harmful", "source": "logit"}, {"reason": "timeout"},
        {"answer": "Safe", "label": "Harmful"}, {"first_step": 10, "last_step": 20, "outcome": "assessor won"},
        {"step": 7}, {"counted": True}, {"mode": "eval"},
    ]  # fmt: skip
    return [GameFilter(**one) for one in singles]


def searches(folder: Path) -> list[str]:
    """Words of the notes, common and rare, one that is absent, two together, and a phrase."""
    with (folder / "games" / "1-7.jsonl").open(encoding="utf-8") as file:
        notes = [GameRecord.model_validate_json(line).note for line in islice(file, 200)]
    words = sorted({word for note in notes for word in note.split()})
    phrase = " ".join(notes[0].split()[:2])
    return [*random.Random(3).sample(words, 60), "absent", f"{words[0]} {words[1]}", f'"{phrase}"']


def read_back(store: Store, folder: Path) -> list[tuple[str, str, str]]:
    def search(text: str) -> None:
        page(store, folder.name, GameFilter(text=text))

    def newest(wanted: GameFilter) -> None:
        page(store, folder.name, wanted)

    def highest(wanted: GameFilter) -> None:
        page(store, folder.name, wanted, Sort.HIGHEST)

    def curve(role: str) -> None:
        rewards(store, folder.name, role)

    return [
        ("search p95, ms", f"{p95(search, searches(folder)):.1f}", "below 10"),
        ("filtered page p95, ms", f"{p95(newest, filters() * 5):.1f}", "below 50"),
        ("filtered page by reward p95, ms", f"{p95(highest, filters() * 5):.1f}", "below 50"),
        ("reward series p95, ms", f"{p95(curve, ['attacker', 'assessor'] * 10):.1f}", ""),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--games", type=int, default=50_000)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(time_ingest(asked.child)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        write_run(folder, asked.steps, asked.games)
        command = [sys.executable, "-m", "bench.ingest", "--child", str(folder)]
        metrics, games, peak = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        rows = asked.steps * len(NAMES)
        plain, upsert = time_plain(Path(name), asked.steps), time_upsert_all(Path(name), asked.steps)
        table = [
            ("metric rows/s, from the log", f"{rows / metrics:,.0f}", "at least 100,000"),
            ("  plain executemany, no parsing", f"{rows / plain:,.0f}", f"{metrics / plain:.2f} of our time"),
            (
                "  sqlite-utils upsert_all, no parsing",
                f"{rows / upsert:,.0f}",
                f"{upsert / metrics:.2f} times our time",
            ),
            ("games/s", f"{asked.games / games:,.0f}", "at least 3,000"),
            ("peak memory, MB", f"{peak:.0f}", "constant; below 150"),
        ]
        with Store(Path(name) / "runs.db") as store:
            table += read_back(store, folder)
        print(f"{asked.steps:,} steps of {len(NAMES)} metrics, {asked.games:,} games")
        for what, value, wanted in table:
            print(f"{what:<40}{value:>14}   {wanted}")


if __name__ == "__main__":
    main()
