"""What happens when a judge fails again and again: it is said once, and the run goes on or is stopped, as configured."""

import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from medical_team import jsonl

OnFailure = Literal["continue", "stop"]


class Report(Protocol):
    """Where failures are told. Errors: OSError, of a full disk."""

    def event(self, level: Literal["info", "warning", "error"], text: str) -> None: ...

    def stop(self, why: str) -> None: ...


class NoReport:
    """For a judge outside of any run: its verdicts tell enough."""

    def event(self, level: str, text: str) -> None:
        pass

    def stop(self, why: str) -> None:
        pass


@dataclass(frozen=True)
class RunReport:
    """Tells the run's events.jsonl; asks the run's supervisor to stop, through the file that `launcher stop` writes."""

    folder: Path

    def event(self, level: str, text: str) -> None:
        line = {"time": time.time(), "kind": "judge", "level": level, "text": text}
        jsonl.append(self.folder / "events.jsonl", json.dumps(line, ensure_ascii=False))

    def stop(self, why: str) -> None:
        part = self.folder / ".stop.json.judge.part"
        part.write_text(
            json.dumps({"when": "now", "asked": time.time(), "checkpoint": 0, "why": why}), encoding="utf-8"
        )
        part.replace(self.folder / "stop.json")


@dataclass
class Failures:
    """Counts failures without an answer between them. At `most` it is told, and with `on_failure` stop the run ends.

    A full disk hinders no verdict: what could not be told is told at the next failure or answer.
    """

    most: int = 20
    on_failure: OnFailure = "continue"
    report: Report = field(default_factory=NoReport)
    in_a_row: int = 0
    told: bool = False

    def failed(self, why: str) -> None:
        self.in_a_row += 1
        if self.in_a_row >= self.most and not self.told:
            with suppress(OSError):
                self._tell(f"the judge failed {self.in_a_row} times in a row, the last time with: {why}")
                self.told = True

    def answered(self) -> None:
        if self.told:
            with suppress(OSError):
                self.report.event("info", f"the judge answers again, after {self.in_a_row} failures")
                self.told = False
        if not self.told:
            self.in_a_row = 0

    def _tell(self, text: str) -> None:
        if self.on_failure == "stop":
            self.report.stop(text)
            self.report.event("error", f"{text}; the run is being stopped, as judge.on_failure says")
        else:
            self.report.event("error", f"{text}; the run goes on, and games that it cannot judge are ties")
