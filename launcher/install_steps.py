"""Runs the commands of an installation one after the other, shows how they get on, and skips those done before."""

import hashlib
import json
import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

Say = Callable[[str], None]
HEARTBEAT = 10.0
"""Seconds of silence after which a step says that it is still at work."""


class StepError(Exception):
    """Which step failed, and why: the last error that it printed."""


@dataclass(frozen=True)
class Step:
    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables on top of the caller's own."""
    reads: Path | None = None
    """A file whose content decides the result."""


def run_all(steps: Sequence[Step], folder: Path, say: Say) -> None:
    """Every step that `folder` does not hold the stamp of. A step done anew makes those after it be done anew.

    What the steps print goes to `folder`/install.log. Errors: StepError.
    """
    before = ""
    with (folder / "install.log").open("a", encoding="utf-8") as log:
        for number, step in enumerate(steps, 1):
            label = f"[{number}/{len(steps)}] {step.name}"
            before = stamp(step, before)
            done = folder / f"{step.name.replace(' ', '-')}.done"
            if done.is_file() and done.read_text() == before:
                say(f"{label}: done before")
                continue
            done.unlink(missing_ok=True)
            run(step, label, say, log)
            done.write_text(before)


def finished(steps: Sequence[Step], folder: Path) -> bool:
    """`folder` holds the stamp of the last step, and so was made by these very steps."""
    before = ""
    for step in steps:
        before = stamp(step, before)
    done = folder / f"{steps[-1].name.replace(' ', '-')}.done"
    return done.is_file() and done.read_text() == before


def stamp(step: Step, before: str) -> str:
    """Changes with whatever would make the result another one; `before` is the stamp of the step before."""
    content = step.reads.read_text(encoding="utf-8") if step.reads else ""
    return hashlib.sha256(json.dumps([before, step.argv, dict(step.env), content]).encode()).hexdigest()


def run(step: Step, label: str, say: Say, log: IO[str]) -> None:
    started = time.monotonic()
    say(label)
    printed: list[str] = []
    command = {"args": step.argv, "env": {**os.environ, **step.env}, "stdin": subprocess.DEVNULL}
    with subprocess.Popen(**command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        try:
            for line in lines(child.stdout):
                elapsed = f"{time.monotonic() - started:.0f} s"
                if line is None:
                    say(f"{label}: {elapsed}")
                    continue
                printed.append(line)
                log.write(line + "\n")
                if gist := pip_gist(line):
                    say(f"{label}: {gist} ({elapsed})")
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        raise StepError(f"{label} failed: {failure(printed)}; all that it printed is in {log.name}")


def lines(pipe: IO[bytes]) -> Iterator[str | None]:
    """Whole lines as they come, and None after every HEARTBEAT without one."""
    rest = b""
    while True:
        if not select.select([pipe], [], [], HEARTBEAT)[0]:
            yield None
            continue
        chunk = os.read(pipe.fileno(), 65536)
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace").rstrip() for line in whole)
        if not chunk:
            if rest:
                yield rest.decode(errors="replace").rstrip()
            return


def pip_gist(line: str) -> str | None:
    """A line of pip's as it is worth showing: large downloads, builds, the unpacking. None for the others."""
    if found := re.match(r"\s*Downloading (?:\S*/)?(\S+?)-\S+ \((\d+(?:\.\d+)? [MG]B)\)", line):
        name, size = found.groups()
        return f"downloading {name}, {size}" if size.endswith("GB") or float(size[:-3]) >= 20 else None
    if found := re.match(r"\s*Building wheel for (\S+) .*: started", line):
        return f"building {found[1]}"
    if line.startswith("Installing collected packages: "):
        return f"unpacking {line.count(',') + 1} packages"
    return None


UNREACHABLE = "after connection broken by"
"""pip's words, before each of its retries."""


def failure(printed: Sequence[str]) -> str:
    """The last error among the lines, in one sentence."""
    errors = [line.strip() for line in printed if re.match(r"\s*(ERROR|error)\b", line)]
    last = (errors or [line.strip() for line in printed if line.strip()] or ["it printed nothing"])[-1]
    last = re.sub(r"^(ERROR|error): ", "", last).rstrip(".")
    offline = any(UNREACHABLE in line for line in printed)
    return f"the package index cannot be reached ({last})" if offline else last
