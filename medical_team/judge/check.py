"""The judge check: asks a judge about notes whose label is known, and writes down what it made of them.

`python -m medical_team.judge.check` reads one JSON object from standard input and prints the report's path as its last
line; the launcher starts it in the engine's interpreter for judges that need one.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from medical_team import demo_world, medec
from medical_team.judge import Judge, report
from medical_team.judge.model_files import JudgeError
from medical_team.judge.probes import Probe, of_cases
from medical_team.judge.settings import LOCAL, JudgeSettings
from medical_team.types import Case, Verdict

DEMO_CASES = 200
WRONG_INPUT = 2


class Wanted(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: JudgeSettings
    runs: Path
    pairs: Path | None = None
    each: int
    """Probes of every kind, from the demo world and as many from `pairs`."""
    seed: int


def cases(wanted: Wanted) -> tuple[list[list[Case]], str]:
    """The sources of probes, and their name. Errors: medec.DataError, OSError."""
    demo = demo_world.cases(DEMO_CASES, wanted.seed)
    if wanted.pairs is None:
        return [demo], "demo world"
    return [demo, medec.read_medec(wanted.pairs)], f"demo world and {wanted.pairs.name}"


async def ask(judge: Judge, probes: Sequence[Probe], together: int) -> list[report.Asked]:
    """The judge's verdicts on the probes, `together` at a time: what waits in line would count as time that it takes."""
    room = asyncio.Semaphore(together)

    async def one(probe: Probe) -> Verdict:
        async with room:
            return await judge.ask(probe.question)

    try:
        verdicts = await asyncio.gather(*map(one, probes))
    finally:
        await judge.close()
    return [
        report.Asked(
            kind=probe.kind, expected=probe.expected, label=verdict.label, reason=verdict.reason, p_harm=verdict.p_harm
        )
        for probe, verdict in zip(probes, verdicts, strict=True)
    ]  # fmt: skip


def check(wanted: Wanted, judge: Judge) -> report.Report:
    sources, name = cases(wanted)
    probes = [probe for source in sources for probe in of_cases(source, wanted.each, wanted.seed)]
    begun = time.time()
    settings = wanted.settings
    together = settings.batch_size if settings.kind == LOCAL else settings.concurrency
    asked = asyncio.run(ask(judge, probes, together))
    return report.Report(
        judge=judge.name, made=begun, settings=settings, source=name, seconds=time.time() - begun,
        rates=report.rates(asked), confusion=report.confusion(asked),
        calibration=report.calibrate(asked, settings.abstain_low, settings.abstain_high), probes=tuple(asked),
    )  # fmt: skip


def main() -> int:
    try:
        wanted = Wanted.model_validate_json(sys.stdin.read())
        print(report.write(wanted.runs, check(wanted, wanted.settings.load())))
    except (JudgeError, ValidationError, medec.DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
