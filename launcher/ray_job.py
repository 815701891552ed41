"""A run as a job on an existing Ray cluster: submits it, prints its log, and ends as it ends.

Runs in the engine's interpreter, in place of the trainer that it stands for. `ray job submit` would not do: it quotes the
command as Windows does, and the cluster gives it to a shell.
"""

import argparse
import asyncio
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

FORWARDED = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "WANDB_MODE")
"""Variables that the job gets from here, if they are set here. None is a secret: Ray shows a job's environment, and writes
it into logs. Tokens and keys belong into the environment that the cluster was started in."""
CODE = ("medical_team/**/*", "launcher/shim/*", "launcher/flash_attn_stub/**/*", "data/demo_*.json")
"""What a job loads of the project. Nothing else of it is sent: no run, no notes of anybody, no key."""
PATIENCE, PAUSE = 120.0, 2.0
"""Seconds for which the cluster may be silent, and between two attempts to reach it."""
FAILED, INTERRUPTED = 1, 130


class JobError(RuntimeError):
    """The job did not end by itself, or cannot be asked any more."""


def main(words: list[str]) -> int:
    asked = parser().parse_args(words)
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(asked.address)
    environment = {name: os.environ[name] for name in FORWARDED if name in os.environ}
    runtime = json.loads(asked.runtime_env_json)
    runtime["env_vars"] = environment | runtime["env_vars"]
    with TemporaryDirectory() as folder:
        copy_code(asked.project, Path(folder))
        client.submit_job(
            entrypoint=shlex.join(asked.command), submission_id=asked.submission_id,
            runtime_env=runtime | {"working_dir": folder},
        )  # fmt: skip
    return follow(client, asked.submission_id)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m launcher.ray_job", description=__doc__)
    made.add_argument("--address", required=True)
    made.add_argument("--submission-id", required=True)
    made.add_argument("--project", type=Path, required=True)
    made.add_argument("--runtime-env-json", required=True)
    made.add_argument("command", nargs="+")
    return made


def copy_code(project: Path, folder: Path) -> None:
    for file in (file for pattern in CODE for file in project.glob(pattern)):
        if file.is_file() and "__pycache__" not in file.parts:
            copied = folder / file.relative_to(project)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copied)


@dataclass
class Printed:
    """What was printed of the log so far. A connection that was lost begins with the first character again."""

    told: int = 0
    heard: float = field(default_factory=time.monotonic)

    async def follow(self, pieces: AsyncIterator[str]) -> None:
        seen = 0
        async for text in pieces:
            print(text[max(0, self.told - seen) :], end="", flush=True)
            seen += len(text)
            self.told, self.heard = max(self.told, seen), time.monotonic()


def follow(client, job: str) -> int:
    """Prints the job's log to its end; the exit code of its command. Errors: JobError."""
    printed = Printed()
    while True:
        try:
            asyncio.run(printed.follow(client.tail_job_logs(job)))
            info = client.get_job_info(job)
        except (OSError, RuntimeError) as error:  # requests' and aiohttp's errors are OSErrors, Ray's RuntimeErrors
            if time.monotonic() - printed.heard > PATIENCE:
                raise JobError(f"the cluster has not answered for {PATIENCE:g} s: {error}") from error
        else:
            if info.status.is_terminal():
                return _code(job, info)
        time.sleep(PAUSE)


def _code(job: str, info) -> int:
    status = str(info.status.value)
    if status == "SUCCEEDED":
        return 0
    if info.driver_exit_code is None:
        raise JobError(f"job {job} is {status} on the cluster: {info.message}")
    return info.driver_exit_code if info.driver_exit_code > 0 else FAILED


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # a stop, which the supervisor has told the cluster already
        sys.exit(INTERRUPTED)
