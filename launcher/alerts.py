"""Alerts: findings that last. Raised once, cleared when gone, and kept in the run's events.jsonl.

A supervisor that takes over a run reads there what is open, and raises nothing twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict

from launcher.health import Finding, Kind
from launcher.rundir import RunDir

CALM_STEPS, CALM_SECONDS = 3, 60.0
"""What has to pass without the finding before its alert is cleared: steps, or seconds for what is not seen in steps."""


class AlertLine(BaseModel):
    """A line of events.jsonl: an alert was raised, or cleared."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    time: float
    kind: Literal["alert"] = "alert"
    level: Literal["info", "warning"]
    text: str
    alert: str
    """The alert's id, unique in the run."""
    what: Kind
    step: int
    link: str
    """Path and query in the dashboard."""
    change: Literal["raised", "cleared"]


class Open(NamedTuple):
    """An alert that is not cleared yet, and since when its finding is gone."""

    raised: AlertLine
    calm_step: int | None = None
    calm_time: float | None = None


class Change(NamedTuple):
    open: Mapping[Kind, Open]
    lines: tuple[AlertLine, ...]
    """New lines, in order."""


def changed(
    run: str, open: Mapping[Kind, Open], findings: Sequence[Finding], step: int, now: float, clock: float
) -> Change:
    """The open alerts after another look at a run. `now` is Unix time, `clock` seconds that never go back."""
    found = {one.kind: one for one in reversed(findings)}
    still, lines = {}, []
    for kind, alert in open.items():
        if kind in found:
            still[kind] = Open(alert.raised)
        elif _gone(kind, alert, step, clock):
            text = f"{kind}: no longer so at step {step}"
            lines.append(
                alert.raised.model_copy(update={"time": now, "level": "info", "text": text, "change": "cleared"})
            )
        else:
            calm = (step, clock) if alert.calm_step is None else alert[1:]
            still[kind] = Open(alert.raised, *calm)
    for kind, finding in found.items():
        if kind not in open:
            line = _raised(run, finding, now)
            lines.append(line)
            still[kind] = Open(line)
    return Change(still, tuple(lines))


def _gone(kind: Kind, alert: Open, step: int, clock: float) -> bool:
    if kind is Kind.STALLED:
        return True
    if kind.of_steps:
        return alert.calm_step is not None and step >= alert.calm_step + CALM_STEPS - 1
    return alert.calm_time is not None and clock >= alert.calm_time + CALM_SECONDS


def _raised(run: str, finding: Finding, now: float) -> AlertLine:
    return AlertLine(
        time=now, level="warning", text=f"{finding.kind}: {finding.text}",
        alert=f"{finding.kind.name.lower()}-{int(now * 1000)}", what=finding.kind, step=finding.step,
        link=link(run, finding), change="raised",
    )  # fmt: skip


def link(run: str, finding: Finding) -> str:
    return "/?" + urlencode([("run", run), ("tab", finding.place.tab), *finding.place.query])


def lines(run: RunDir) -> list[AlertLine]:
    """All that events.jsonl tells of alerts. What is no such line is the ingest's business."""
    found = []
    for text in _told(run, b'"alert"'):
        with suppress(ValueError):
            found.append(AlertLine.model_validate_json(text))
    return found


def still_open(told: Iterable[AlertLine]) -> dict[Kind, Open]:
    found: dict[Kind, Open] = {}
    for line in told:
        if line.change == "raised":
            found[line.what] = Open(line)
        else:
            found.pop(line.what, None)
    return found


def not_posted(run: RunDir, open: Mapping[Kind, Open]) -> list[AlertLine]:
    """Open alerts of whose webhook nothing was told: their supervisor ended first."""
    posted = b"\n".join(_told(run, b'"webhook"')).decode("utf-8", "replace")
    return [alert.raised for alert in open.values() if alert.raised.alert not in posted]


def _told(run: RunDir, mark: bytes) -> list[bytes]:
    return [text for text in run.events.read_bytes().split(b"\n") if mark in text] if run.events.exists() else []
