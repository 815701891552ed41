"""Presets on a GPU, with random weights of real shapes: what they hold, how long a step takes, and what was estimated.

    python bench/gpu.py --out FILE.json [--budget SECONDS] [--run "NAME KEY=VALUE …"]… [--set KEY=VALUE]…

Every `--run` names one of SETUPS or a preset, with settings laid over it, and is started, watched and stopped through the
launcher as a user's run would be. A run that dies, or that the budget cuts off, is a result. The engine is ENGINE_PYTHON, or
what this interpreter can import. The file is written anew after every run; one table is printed at the end.
"""

import argparse
import json
import multiprocessing
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from bench.other_agent import supervised  # noqa: E402
from launcher import (  # noqa: E402
    engine,
    memory,
    memory_measured,
    model_shape,
    preflight,
    process,
    report,
    settings,
)
from launcher.config import presets, resolve  # noqa: E402
from launcher.reading import config_of  # noqa: E402
from launcher.rundir import RunDir  # noqa: E402
from launcher.runs import Runs  # noqa: E402
from launcher.store import MemoryPoint, Store  # noqa: E402
from medical_team import demo_world  # noqa: E402
from medical_team.judge.settings import LOCAL  # noqa: E402
from medical_team.records import read_folder  # noqa: E402

PHASES = ("generation", "make_experience", "ppo_train", "broadcast", "step_total")
STOPPING = 40.0
"""Seconds that ending a run may take."""
LINES = 60
"""Of the log of a run that failed."""


@dataclass(frozen=True)
class Setup:
    preset: str
    settings: dict[str, Any] = field(default_factory=dict)
    shape: str = "qwen2.5-3b"
    ceiling_gb: float | None = None
    """Memory of the GPU that the preset is for; on a larger one the rest is taken away."""
    judge: str = "medgemma-4b"
    """Shape of the judge's model, where the preset has one in its rollout process."""


SHORT = {"rollout.max_new_tokens": 512, "rollout.max_len": 1024, "prompt_style": "short"}
"""As in the first measurements: replies of 512 tokens, in all about 700. Notes of `--data` may need a longer max_len."""
OLD = {"memory.adam_offload": True, "memory.cpu_threads": 1}
H100 = 86.0
SETUPS = {
    "80gb": Setup("single-gpu-80gb", SHORT, ceiling_gb=H100),
    "48gb": Setup("single-gpu-48gb", SHORT, ceiling_gb=48),
    "24gb": Setup("single-gpu-24gb", SHORT, "qwen2.5-1.5b", 24),
    "guide": Setup("guide-single-gpu", ceiling_gb=H100),
    "old": Setup("guide-single-gpu", OLD | SHORT, ceiling_gb=H100),  # the first that fitted: 103 s a step
    "2gpus": Setup("multi-gpu", SHORT),
}
SPARE = {"checkpoint.steps": 0, "checkpoint.huggingface": False, "eval.steps": 0, "data.source": "medec"}
"""What would only add to the time."""
AGENT = PROJECT / "bench" / "judged_agent.py"


@dataclass(frozen=True)
class Work:
    """Where everything of this benchmark lies."""

    folder: Path

    runs = property(lambda self: Runs(self.folder / "runs"))
    notes = property(lambda self: self.folder / "notes.jsonl")

    def model(self, shape: str) -> Path:
        return self.folder / "models" / shape


def write_notes(path: Path, count: int = 1500) -> None:
    """Notes of MEDEC's length in MEDEC's form: four demo notes in one, the last with an error."""
    cases = demo_world.cases(count, seed=1)
    names = {
        "dosage": "pharmacotherapy",
        "diagnosis": "diagnosis",
        "contraindication": "treatment",
        "management": "management",
    }
    with path.open("w", encoding="utf-8") as file:
        for index, case in enumerate(cases):
            before = " ".join(cases[(index + other) % count].clean for other in (1, 2, 3))
            row = {
                "note_id": case.id, "correct_note": f"{before} {case.clean}", "incorrect_note": f"{before} {case.error}",
                "error_type": names.get(case.error_types[0].value, "pharmacotherapy"),
            }  # fmt: skip
            file.write(json.dumps(row) + "\n")


def engine_python(folder: Path) -> Path:
    """ENGINE_PYTHON, or an interpreter that sees all that this one sees: a job's PYTHONPATH is the launcher's own."""
    if named := os.environ.get("ENGINE_PYTHON"):
        return Path(named)
    home = folder / "engine"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    packages = next((home / "lib").glob("python3*/site-packages"))
    seen = [path for path in sys.path if Path(path).is_dir() and Path(path) not in (PROJECT, PROJECT / "bench")]
    (packages / "seen.pth").write_text(f"import site; [site.addsitedir(folder) for folder in {seen!r}]\n")
    return home / "bin" / "python"


def make_model(work: Work, shape: str) -> Path:
    out = work.model(shape)
    if not (out / "tokenizer.json").exists():
        script = Path(__file__).with_name("random_models.py")
        subprocess.run([os.environ["ENGINE_PYTHON"], str(script), shape, str(out), str(work.notes)], check=True)
    return out


HOLD = """
import sys, torch
free, total = torch.cuda.mem_get_info()
held = torch.empty(int(total - float(sys.argv[1]) - (total - free)), dtype=torch.uint8, device="cuda")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def ceiling(gigabytes: float | None):
    """Takes GPU memory away, so that only so much is left for the run."""
    if gigabytes is None or gpu_bytes() <= gigabytes * 1e9:
        yield
        return
    argv = [os.environ["ENGINE_PYTHON"], "-c", HOLD, str(gigabytes * 1e9)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n", "the memory could not be taken away"
            yield
        finally:
            holder.stdin.close()


def chosen(text: str) -> tuple[Setup, dict[str, Any]]:
    """A `--run`: its setup, and the settings laid over it."""
    name, *changes = shlex.split(text)
    setup = SETUPS.get(name) or Setup(name)
    if setup.preset not in presets():
        raise SystemExit(f"unknown run {name!r}; there are: {', '.join([*SETUPS, *presets()])}")
    return setup, assigned(changes)


def assigned(changes: list[str]) -> dict[str, Any]:
    pairs = (change.partition("=") for change in changes)
    return {key: settings.parse(key, value) for key, _, value in pairs}


def configure(setup: Setup, changes: dict[str, Any], work: Work, steps: int, data: Path):
    changes = SPARE | setup.settings | {"train.steps": steps, "data.path": str(data)} | changes
    if "policy" not in changes:
        changes["policy"] = str(make_model(work, setup.shape))
    if "judge.model" not in changes and resolve(setup.preset, changes).judge.kind == LOCAL:
        changes |= {"judge.model": str(make_model(work, setup.judge)), "judge.start_anyway": True}
    if setup.ceiling_gb and "memory.vllm_share" not in changes:  # vLLM's share is of the whole GPU, not of what is left
        share = settings.of_preset(setup.preset)["memory.vllm_share"]
        changes["memory.vllm_share"] = round(share * min(1.0, setup.ceiling_gb * 1e9 / gpu_bytes()), 3)
    return resolve(setup.preset, changes)


def play(config, work: Work, until: float) -> tuple[RunDir, str]:
    """Starts the run and stops it after its last step, or at `until` (monotonic). How it came out."""
    here = work.runs
    run = here.create(config)
    spawned = multiprocessing.get_context("spawn")
    spawned.Process(target=supervised, args=(here, run, AGENT, config.train.steps)).start()
    while not run.state.exists():
        time.sleep(0.1)
    try:
        while True:
            now = here.look(run)
            if now.ended_already:
                return run, f"{now.state} after step {now.step}: {now.reason}"
            if now.step >= config.train.steps:
                return run, f"made {now.step} steps"
            if time.monotonic() > until:
                return run, f"out of time after step {now.step}, while {now.phase}"
            time.sleep(0.5)
    finally:
        finish(here, run)


def finish(here: Runs, run: RunDir) -> None:
    if not here.look(run).ended_already:
        here.stop(run.id, "now")
        deadline = time.monotonic() + STOPPING
        while not here.look(run).ended_already and time.monotonic() < deadline:
            time.sleep(0.5)
    process.end(run.id, None)


def measured(store: Store, run: RunDir, started: float) -> dict[str, Any]:
    """What the run's own files tell."""
    series = {name: store.series(run.id, f"timing/{name}") for name in PHASES}
    lengths = dict(store.series(run.id, "response_length"))
    config = config_of(run)
    steps = [
        {"step": step}
        | {name: dict(points).get(step) for name, points in series.items()}
        | {"reply_tokens": lengths[step]}
        for step, _ in series["step_total"]
    ]
    for step in steps:
        seconds = step["generation"] or step["step_total"]
        step["rollout_tokens_per_second"] = step["reply_tokens"] * config.samples_per_step / seconds
    points = store.memory(run.id)
    games = [game for game in read_folder(run.games) if game.mode == "train"]
    return {
        "steps": steps,
        "games": {
            "in_step": Counter(game.step for game in games),
            "processes": len(list(run.games.glob("*.jsonl"))),
            "broken": sum(not game.valid and game.verdict is None for game in games),
            "most_of_a_sample": max(Counter(game.sample for game in games).values(), default=0),
        },
        "later_step_s": statistics.median(step["step_total"] for step in steps[1:]) if steps[1:] else None,
        "peak_mb": peaks(points),
        "memory": [[round(point.time - started, 1), point.phase, *_roles(point).values()] for point in points],
        "memory_columns": ["seconds", "phase", "total", *_role_names(points)],
    }


def _role_names(points: list[MemoryPoint]) -> list[str]:
    return list(points[0].roles) if points else []


def _roles(point: MemoryPoint) -> dict[str, int]:
    return {name: round(mb) for name, mb in ({"total": point.total_mb} | point.roles).items()}


def peaks(points: list[MemoryPoint]) -> dict[str, dict[str, int]]:
    """Phase -> role -> the most that it held in that phase; `run` is over all phases."""
    found: dict[str, dict[str, int]] = {}
    for point in points:
        for phase in ("run", point.phase):
            most = found.setdefault(phase, {})
            for name, mb in _roles(point).items():
                most[name] = max(most.get(name, 0), mb)
    return found


def gpu_bytes() -> float:
    """Memory of the first GPU; on a machine without one, where only the script itself can be tried, more than any has."""
    return preflight.gpu_total() or 1e15


def machine() -> dict[str, Any]:
    gpus = [{"name": gpu.name, "total_gb": gpu.total / 1e9} for gpu in preflight.gpus()] if gpu_bytes() < 1e15 else []
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    found = engine.find("cuda")
    return {
        "gpus": gpus, "cores": len(os.sched_getaffinity(0)), "memory_gb": memory, "python": sys.version.split()[0],
        "versions": dict(found.versions), "engine_problems": engine.quick_check("cuda"),
    }  # fmt: skip


def bench(text: str, asked: argparse.Namespace, work: Work, until: float) -> dict[str, Any]:
    started = time.time()
    setup, changes = chosen(text)
    config = configure(setup, assigned(asked.set) | changes, work, asked.steps, asked.data or work.notes)
    with ceiling(setup.ceiling_gb):
        run, outcome = play(config, work, min(until, time.monotonic() + asked.limit) - STOPPING)
    log = run.log(1).read_text(encoding="utf-8", errors="replace").splitlines() if run.log(1).exists() else []
    with Store(work.runs.store_path) as store:
        result = measured(store, run, started)
        if config.device == "cuda":
            result["estimate"] = estimated(config, setup.ceiling_gb, run, store)
    failed = not outcome.startswith("made")
    return {
        "run": text, "preset": setup.preset, "settings": config.model_dump(mode="json"), "ceiling_gb": setup.ceiling_gb,
        "outcome": outcome, "seconds": time.time() - started, **result,
        "log_tail": [line[:600] for line in log[-LINES:]] if failed else [],
        "errors": [line[:600] for line in log if "Error" in line][:20],
    }  # fmt: skip


def estimated(config, ceiling_gb: float | None, run: RunDir, store: Store) -> dict[str, Any]:
    """The plan, for the longest sequences that there were, and each of its peaks beside the measured one."""
    gpu = int(min(ceiling_gb * 1e9 if ceiling_gb else 1e15, gpu_bytes()))
    share = config.memory.vllm_share * gpu_bytes() / gpu  # vLLM reckons with the whole GPU, the plan with what is left
    config = config.model_copy(update={"memory": config.memory.model_copy(update={"vllm_share": share})})
    lengths = [length for _, length in store.series(run.id, "total_length")]
    work = memory.Workload(config, model_shape.of_model(config.policy), gpu, memory.judge_of(config.judge))
    plan = memory.plan(work)
    compared = memory_measured.compare(plan, store.memory(run.id))
    return {
        "fits": plan.fits, "peak_gb": plan.peak / 1e9, "limit_gb": plan.limit / 1e9, "mean_total_length": lengths,
        "phases_gb": {phase: {part: plan.of(phase, part) / 1e9 for part in memory.Part} for phase in memory.Phase},
        "beside_measured": [
            [one.part or "whole", one.estimated / 1e9, one.measured / 1e9, one.off] for one in compared
        ],
    }  # fmt: skip


HEADS = (
    "run",
    "outcome",
    "step s",
    *PHASES[:-1],
    "tokens/s",
    "estimated GiB",
    "peak GiB",
    "policy",
    "reference",
    "rollout",
    "judge",
)


def row(result: dict[str, Any]) -> tuple:
    last = result["steps"][-1] if result["steps"] else {}
    most = result["peak_mb"].get("run", {})
    held = (
        most[name] / 1024 if name in most else None for name in ("total", "policy", "reference", "rollout", "judge")
    )
    times = (last.get(name) for name in PHASES[:-1])
    step = result["later_step_s"] or last.get("step_total")
    plan = result["estimate"]["beside_measured"][0][1] * 1e9 / 2**30 if "estimate" in result else None
    return (result["run"], result["outcome"][:60], step, *times, last.get("rollout_tokens_per_second"), plan, *held)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("/tmp/bench-gpu"), help="models and runs (some 10 GB)")
    parser.add_argument("--budget", type=float, default=540.0, help="seconds for everything")
    parser.add_argument("--limit", type=float, default=1e9, help="seconds for one run")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--data", type=Path, help="a MEDEC file (default: demo notes joined to its length)")
    parser.add_argument(
        "--run", action="append", metavar='"NAME KEY=VALUE …"', help=f"of: {', '.join(SETUPS)}, or a preset"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for every run")
    asked = parser.parse_args()
    until = time.monotonic() + asked.budget
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    work = Work(asked.work.resolve())
    (work.folder / "runs").mkdir(parents=True, exist_ok=True)
    os.environ |= {"SECOND_OPINION_RUNS": str(work.folder / "runs"), "ENGINE_PYTHON": str(engine_python(work.folder))}
    write_notes(work.notes)
    answer = {"machine": machine(), "runs": []}
    for text in asked.run or ["80gb", "old"]:
        answer["runs"].append(bench(text, asked, work, until))
        asked.out.write_text(json.dumps(answer, indent=1) + "\n")
        print(report.columns([HEADS, row(answer["runs"][-1])]), flush=True)
    print(report.columns([HEADS, *map(row, answer["runs"])]))


if __name__ == "__main__":
    main()
