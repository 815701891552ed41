"""Stands in for the engine's interpreter: answers for the versions, and as a trainer prints a log step by step.

FAKE_TRAINER says how it ends: done, raise, kill (by SIGKILL), hang, dead_actor (tells of a process of its own that
could not start, and hangs), stubborn (hangs and ignores polite signals), deaf (has processes as Ray has, prints one
more step into its own log alone, and hangs), full_disk (raises as on a full disk), eat (takes memory until it is
ended, in the memory cgroup FAKE_CGROUP). With hang, what comes before the trainer hangs too. With --ckpt.save_hf the
model of a checkpoint takes FAKE_SAVING seconds after `latest`. FAKE_STEPS steps are printed, from the checkpoint on
if there is one, FAKE_PACE seconds each, with FAKE_GAMES games recorded; FAKE_KL, a JSON object, gives a step's
vllm_kl, where it is not healthy. After step FAKE_HOLD it waits until the file FAKE_GATE is there. The file FAKE_LEDGER,
if it is set, gets a line when it begins and one when it is done; FAKE_ALONE gets one where two trainers are on a device
at once. Needs no third-party package.
"""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PREFIX = "(PPOTrainer pid=7) INFO 11-22 13:56:51 ppo_trainer.py:551] ✨ Global step "

DEAD_ACTOR = """\
(RolloutRayActor pid=8) Exception raised in creation task: The actor died because of an error raised in its creation task
(RolloutRayActor pid=8)   File "/medical_team/openrlhf_agent.py", line 98, in __init__
(RolloutRayActor pid=8)     self.judge = self.settings.judge.load(self.settings.games.parent)
(RolloutRayActor pid=8) ValueError: the judge has no weights"""


def main() -> None:
    if sys.argv[1] == "-c":
        print(os.environ["FAKE_VERSIONS"])
    elif sys.argv[2] == "medical_team.render":
        time.sleep(600 if os.environ["FAKE_TRAINER"] == "hang" else 0)
    else:
        train({flag: value for flag, value in zip(sys.argv, sys.argv[1:], strict=False) if flag.startswith("--")})


def train(flags: dict[str, str]) -> None:
    note("begun", flags)
    ending = os.environ["FAKE_TRAINER"]
    if ending == "stubborn":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    if ending == "dead_actor":
        print(DEAD_ACTOR, flush=True)
        time.sleep(600)
    lock = alone(os.environ["FAKE_ALONE"]) if "FAKE_ALONE" in os.environ else None  # noqa: F841 - held until it is gone
    latest = Path(flags["--ckpt.path"], "_actor", "latest")
    first = int(latest.read_text().removeprefix("global_step")) + 1 if latest.exists() else 1
    for step in range(first, int(os.environ["FAKE_STEPS"]) + 1):
        kl = json.loads(os.environ.get("FAKE_KL", "{}")).get(str(step), "1e-05")
        play(step, int(os.environ.get("FAKE_GAMES", "0")))
        print(f"{PREFIX}{step}: {{'reward': {step / 10}, 'vllm_kl': {kl}, 'timing/step_total': 0.5}}", flush=True)
        if step % int(flags["--ckpt.save_steps"]) == 0:
            latest.parent.mkdir(parents=True, exist_ok=True)
            (latest.parent / f"global_step{step}").mkdir(exist_ok=True)
            latest.write_text(f"global_step{step}")
            if "--ckpt.save_hf" in sys.argv:
                save_model(latest.parent.parent / f"global_step{step}_hf")
        while str(step) == os.environ.get("FAKE_HOLD") and not Path(os.environ["FAKE_GATE"]).exists():
            time.sleep(0.02)
        time.sleep(float(os.environ.get("FAKE_PACE", "0.05")))
    if ending == "deaf":
        be_ray(step + 1)
    if ending == "raise":
        raise ValueError("the reward was lost")
    if ending == "full_disk":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/x")
    if ending == "eat":
        Path(os.environ["FAKE_CGROUP"], "cgroup.procs").write_text(str(os.getpid()))
        held = [bytearray(os.urandom(1 << 20)) for _ in range(500)]  # noqa: F841
    if ending == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if ending != "done":
        time.sleep(600)
    model = Path(flags["--ckpt.output_dir"])
    model.mkdir(parents=True, exist_ok=True)
    (model / "config.json").write_text(json.dumps({"model_type": "fake"}))
    note("ended", flags)


def be_ray(step: int) -> None:
    logs = Path(os.environ["RAY_TMPDIR"], "ray", "session_latest", "logs")
    logs.mkdir(parents=True)
    line = f"{PREFIX}{step}: {{'reward': {step / 10}}}".removeprefix("(PPOTrainer pid=7) ")
    (logs / "worker-0a-01-7.out").write_text(f":job_id:01000000\n{line}\n", encoding="utf-8")
    for name in ("log_monitor.py", "raylet"):
        subprocess.Popen([name, "600"], executable="/bin/sleep")


def save_model(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(bytes(9))
    time.sleep(float(os.environ.get("FAKE_SAVING", "0")))
    (folder / "tokenizer.json").write_text("{}")


def note(word: str, flags: dict[str, str]) -> None:
    if "FAKE_LEDGER" in os.environ:
        on_gpu = flags["--vllm.sync_backend"] == "nccl"
        device = f"gpu-{os.environ['CUDA_VISIBLE_DEVICES']}" if on_gpu else "cpu"
        run = Path(flags["--ckpt.path"]).parent.name
        with open(os.environ["FAKE_LEDGER"], "a") as ledger:
            ledger.write(f"{word} {run} {device} {os.getpid()} {time.monotonic()}\n")


def alone(path: str):
    """The device's lock, open."""
    lock = open(f"{path}.{os.environ.get('CUDA_VISIBLE_DEVICES', 'cpu')}", "w")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        Path(path).write_text("two trainers were on one device\n")
    return lock


def play(step: int, games: int) -> None:
    """The records of a step's games, as `medical_team.records` reads them."""
    if not games:
        return
    settings = json.loads(os.environ["SECOND_OPINION"])
    turn = {
        "seat": 0, "role": "assessor", "prompt": "p", "raw": "Safe", "thinking": None, "answer": "Safe", "format_ok": True,
        "format_reason": "ok", "tokens": 1, "truncated": False, "latency_ms": 1.0, "correct": True,
        "rewards": {"verdict": 1.0}, "raw_reward": 1.0, "baseline": 0.0, "sent_reward": 1.0,
    }  # fmt: skip
    writer = f"{settings['attempt']}-{os.getpid()}"
    with Path(settings["games"], f"{writer}.jsonl").open("a", encoding="utf-8") as file:
        for number in range(games):
            record = {
                "run": settings["run"], "attempt": settings["attempt"], "game": f"{writer}-{step}-{number}", "sample": "s",
                "case": "c", "mode": "train", "step": step, "category": "vanilla_benign", "error_type": "dosage",
                "opponent": "self", "seed_note": "n", "clean_note": "n", "note": "n",
                "turns": [turn, turn | {"seat": 1}], "verdict": None, "attack_verdict": None, "truth": "Safe", "valid": True,
                "drop_reason": None, "started": time.time(), "ended": time.time(),
            }  # fmt: skip
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
