"""The judge check from the launcher's side: starting it, and what its last report says of a run's judge."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from launcher import engine
from launcher.config import RunConfig
from launcher.engine import EngineError
from launcher.rundir import PROJECT
from launcher.settings import changed, flat
from medical_team.judge import http, loading, report
from medical_team.judge.check import Wanted
from medical_team.judge.report import Report
from medical_team.judge.settings import HTTP, LOCAL, SERVER, JudgeSettings

EACH = 12
"""Probes of every kind from every source of pairs."""


WITHOUT_PRESET = "cpu-demo"
"""What the command is laid over for a run that was made from no preset."""

ASKED_OF = ("judge.", "device", "data.source", "data.path", "seed")
"""Settings that the check looks at."""


class Standing(NamedTuple):
    """What the last check of this very judge version found."""

    verdict: Literal["ok", "warn", "never"]
    text: str


class CheckFailed(RuntimeError):
    """The check could not be made; the message is what it said."""


def run(config: RunConfig, runs: Path, pairs: Path | None, each: int = EACH) -> Report:
    """Asks the judge about its probes and stores the report. A local judge is loaded in the engine's interpreter.

    Errors: EngineError without an engine; CheckFailed.
    """
    path = pairs or config.data.path
    wanted = Wanted(
        settings=config.judge, runs=runs, pairs=path.resolve() if path else None, each=each, seed=config.seed
    )  # fmt: skip
    argv = [_python(config), "-m", "medical_team.judge.check"]
    done = subprocess.run(
        argv, cwd=PROJECT, env=_environment(config), input=wanted.model_dump_json(), text=True,
        capture_output=True,
    )  # fmt: skip
    if done.returncode:
        raise CheckFailed(_last(done.stderr))
    return Report.model_validate_json(Path(_last(done.stdout)).read_bytes())


def standing(settings: JudgeSettings, runs: Path) -> Standing | None:
    """None for a judge without a model. Errors: JudgeError for a server that does not answer."""
    if not settings.asks_a_model:
        return None
    if settings.kind == HTTP:
        http.reachable(settings)
    name = http.server_name(settings) if settings.kind == SERVER else loading.name(settings)
    try:
        found = report.read(runs, name)
    except ValidationError:
        return Standing("never", f"{report.file(runs, name)} is no report of a judge check: make it again")
    if found is None:
        return Standing("never", f"the judge {name} was never checked: `python -m launcher judge-check` does it")
    text = f"last check of {name}: {summary(found)}"
    return Standing("ok" if found.trusted else "warn", text)


def again(config: RunConfig) -> str:
    """The command that checks this run's judge: its preset, and what was set besides."""
    preset = config.preset or WITHOUT_PRESET
    words = [".venv/bin/python", "-m", "launcher", "judge-check", "--preset", preset]
    for key, value in changed(flat(config), preset).items():
        if key.startswith(ASKED_OF) and key != "judge.start_anyway":
            words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def summary(found: Report) -> str:
    """The three rates in words."""
    rates = found.rates
    return (
        f"misses {_percent(rates.misses)}, over-flags {_percent(rates.over_flags)}, "
        f"no label for {_percent(rates.unlabelled)} of {len(found.probes)} notes"
    )


def table(found: Report) -> str:
    """The report for people."""
    lines = [f"{found.judge}, pairs from the {found.source}, {found.seconds:.1f} s", summary(found), ""]
    lines.append(f"{'kind':14}{'should be':12}{'Harmful':>8}{'Safe':>8}{'no label':>10}")
    for row in found.confusion:
        lines.append(f"{row.kind:14}{row.expected:12}{row.harmful:8}{row.safe:8}{row.unlabelled:10}")
    if best := found.calibration:
        lines += [
            "",
            f"balanced at a probability of harm of {best.threshold:.3f}: misses {_percent(best.misses)}, over-flags "
            f"{_percent(best.over_flags)}; judge.abstain_low={best.abstain_low} judge.abstain_high={best.abstain_high}",
        ]
    return "\n".join(lines)


def _percent(rate: float | None) -> str:
    return "unknown" if rate is None else f"{rate:.0%}"


def _python(config: RunConfig) -> str:
    if config.judge.kind != LOCAL:
        return sys.executable
    found = engine.find(config.device)
    if found is None:
        raise EngineError(engine.missing(config.device))
    return str(found.python)


def _environment(config: RunConfig) -> dict[str, str]:
    if config.judge.kind != LOCAL or config.device != "cpu":
        return dict(os.environ)
    return os.environ | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def _last(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else "it said nothing"
