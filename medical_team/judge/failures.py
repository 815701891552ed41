"""What happens when a judge fails again and again: it is said once, and the run goes on or is stopped, as configured."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

OnFailure = Literal["continue", "stop"]


class Report(Protocol):
    """Where failures are told."""

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
        with (self.folder / "events.jsonl").open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def stop(self, why: str) -> None:
        part = self.folder / ".stop.json.judge.part"
        part.write_text(
            json.dumps({"when": "now", "asked": time.time(), "checkpoint": 0, "why": why}), encoding="utf-8"
        )
        part.replace(self.folder / "stop.json")


@dataclass
class Failures:
    """Counts failures without an answer between them. At `most` it is told, and with `on_failure` stop the run ends."""

    most: int = 20
    on_failure: OnFailure = "continue"
    report: Report = field(default_factory=NoReport)
    in_a_row: int = 0

    def failed(self, why: str) -> None:
        self.in_a_row += 1
        if self.in_a_row != self.most:
            return
        text = f"the judge failed {self.most} times in a row, the last time with: {why}"
        if self.on_failure == "stop":
            self.report.event("error", f"{text}; the run is being stopped, as judge.on_failure says")
            self.report.stop(text)
        else:
            self.report.event("error", f"{text}; the run goes on, and games that it cannot judge are ties")

    def answered(self) -> None:
        if self.in_a_row >= self.most:
            self.report.event("info", f"the judge answers again, after {self.in_a_row} failures")
        self.in_a_row = 0
