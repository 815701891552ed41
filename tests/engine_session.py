"""A script in the engine's interpreter that answers one JSON object a line, so that it imports the engine once."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from conftest import PROJECT

RESULT = "RESULT "
"""Before an answer: the engine prints lines of its own."""


@contextmanager
def session(python: str, script: str, env: Mapping[str, str], errors: Path) -> Iterator[Callable[[dict], object]]:
    """Asks the script and gives back what it answers. What it says on standard error is kept in the file `errors`."""
    with (
        errors.open("w", encoding="utf-8") as said,
        subprocess.Popen(
            [python, script],
            cwd=PROJECT,
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
        ) as process,
    ):

        def ask(asked: dict):
            try:
                process.stdin.write(json.dumps(asked) + "\n")
                process.stdin.flush()
                return json.loads(next(line for line in process.stdout if line.startswith(RESULT))[len(RESULT) :])
            except (StopIteration, BrokenPipeError):
                raise AssertionError(errors.read_text(encoding="utf-8")[-3000:]) from None

        try:
            yield ask
        finally:
            process.kill()
