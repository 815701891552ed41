"""Stands in for the engine's interpreter: answers for the versions, and as a trainer prints a log step by step.

FAKE_TRAINER says how it ends: done, raise, kill (by SIGKILL), hang, dead_sync, stubborn (hangs and ignores polite signals).
FAKE_STEPS steps are printed, from the checkpoint on if there is one, FAKE_PACE seconds each. The file FAKE_LEDGER, if it is
set, gets a line when it begins and one when it is done. Needs no third-party package.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

PREFIX = "(PPOTrainer pid=7) INFO 11-22 13:56:51 ppo_trainer.py:551] ✨ Global step "


def main() -> None:
    if sys.argv[1] == "-c":
        print(os.environ["FAKE_VERSIONS"])
    else:
        train({flag: value for flag, value in zip(sys.argv, sys.argv[1:], strict=False) if flag.startswith("--")})


def train(flags: dict[str, str]) -> None:
    note("begun", flags)
    ending = os.environ["FAKE_TRAINER"]
    if ending == "stubborn":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    latest = Path(flags["--ckpt.path"], "_actor", "latest")
    first = int(latest.read_text().removeprefix("global_step")) + 1 if latest.exists() else 1
    for step in range(first, int(os.environ["FAKE_STEPS"]) + 1):
        kl = "nan" if ending == "dead_sync" and step == 2 else "1e-05"
        print(f"{PREFIX}{step}: {{'reward': {step / 10}, 'vllm_kl': {kl}, 'timing/step_total': 0.5}}", flush=True)
        if step % int(flags["--ckpt.save_steps"]) == 0:
            latest.parent.mkdir(parents=True, exist_ok=True)
            latest.write_text(f"global_step{step}")
        time.sleep(float(os.environ.get("FAKE_PACE", "0.05")))
    if ending == "raise":
        raise ValueError("the reward was lost")
    if ending == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if ending != "done":
        time.sleep(600)
    model = Path(flags["--ckpt.output_dir"])
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps({"model_type": "fake"}))
    note("ended", flags)


def note(word: str, flags: dict[str, str]) -> None:
    if "FAKE_LEDGER" in os.environ:
        on_gpu = flags["--vllm.sync_backend"] == "nccl"
        device = f"gpu-{os.environ['CUDA_VISIBLE_DEVICES']}" if on_gpu else "cpu"
        run = Path(flags["--ckpt.path"]).parent.name
        with open(os.environ["FAKE_LEDGER"], "a") as ledger:
            ledger.write(f"{word} {run} {device} {os.getpid()} {time.monotonic()}\n")


if __name__ == "__main__":
    main()
