"""Feeds every target of `fuzz_targets` by coverage: `python -m bench.fuzz --seconds 60`. Needs atheris (Apache-2.0).

Each target runs in a process of its own, with a folder of what it found worth keeping. Prints one table.
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

ONE = """
import sys, warnings
import atheris
with atheris.instrument_imports(include=["app.guard", "launcher", "medical_team"]):
    from bench import fuzz_targets
target = fuzz_targets.TARGETS[sys.argv.pop(1)]
atheris.Setup(sys.argv, lambda data: target(data))
atheris.Fuzz()
"""

ERROR = re.compile(r"\s*[\w.]*(Error|Exception)\b|ALARM|==\d+== ERROR")


def fuzz(target: str, seconds: int, corpus: Path, python: str) -> tuple[int, float, str]:
    """Runs, minutes and the finding, if any."""
    from bench.fuzz_targets import SEEDS

    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    for at, seed in enumerate(SEEDS.get(target, ())):
        (folder / f"seed-{at}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-timeout=20", "-max_len=4096", f"-artifact_prefix={corpus}/{target}-"]
    begun = time.monotonic()
    done = subprocess.run(
        [python, "-c", ONE, target, *options, str(folder)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    minutes = (time.monotonic() - begun) / 60
    runs = [int(number) for number in re.findall(r"^#(\d+)", done.stderr, re.MULTILINE)]
    errors = [line for line in done.stderr.splitlines() if ERROR.match(line)]
    return max(runs, default=0), minutes, "" if done.returncode == 0 else (errors or ["see the artifact"])[0].strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--corpus", type=Path, default=Path("/tmp/second-opinion-corpus"))
    parser.add_argument("--python", default=sys.executable, help="interpreter that has atheris and requirements.txt")
    asked = parser.parse_args()
    from bench.fuzz_targets import TARGETS

    print("| target | runs | minutes | finding |\n| --- | --- | --- | --- |", flush=True)
    failed = False
    for target in asked.only or TARGETS:
        runs, minutes, finding = fuzz(target, asked.seconds, asked.corpus, asked.python)
        failed |= bool(finding)
        print(f"| {target} | {runs:,} | {minutes:.1f} | {finding or 'none'} |", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
