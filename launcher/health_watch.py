"""The watch over a run's health, inside its supervisor: looks, raises and clears alerts, and has them posted."""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import psutil

from launcher import alerts, health, health_machine, health_series, store_health, tail, webhook
from launcher.alerts import AlertLine
from launcher.config import Mode, RunConfig
from launcher.health import Finding, Kind, Place
from launcher.health_machine import Machine, Silences
from launcher.rundir import RunDir, append_line
from launcher.state import State
from launcher.store import Store

EVERY, MACHINE_EVERY = 2.0, 10.0
"""Seconds between two looks at a run, and at its machine."""

HISTORY, FIRST, GROUPS = 60, 5, 5
"""Newest steps that are looked at, first steps that they are held against, and newest steps whose groups are."""

LAST_POSTS = 5.0
"""Seconds that an ended run's supervisor stays for its posts."""

CGROUP = Path("/sys/fs/cgroup")


class Watch:
    """One supervisor's look at its run. Everything that it tells stands in events.jsonl."""

    def __init__(self, rundir: RunDir, config: RunConfig, store: Store):
        self.rundir, self.config, self.store = rundir, config, store
        self.open = alerts.still_open(alerts.lines(rundir))
        self.silences, self.size, self.heard = Silences(), -1, time.monotonic()
        self.next_look = self.next_machine = 0.0
        self.step, self.of_steps, self.of_machine = -1, (), ()
        self.poster: webhook.Poster | None = None

    def begin(self) -> None:
        """Before the first look: alerts that an earlier supervisor raised and did not get posted are posted now."""
        self.poster = self._poster()
        for line in alerts.not_posted(self.rundir, self.open):
            self._post(line)

    def look(self, now: State) -> None:
        """Call it as often as you like."""
        clock = time.monotonic()
        self._listen(now, clock)
        if clock < self.next_look:
            return
        self.next_look = clock + EVERY
        if now.step != self.step:
            self.step, self.of_steps = now.step, tuple(findings(self.store, self.rundir.id, self.config, now.step))
        if clock >= self.next_machine:
            self.next_machine = clock + MACHINE_EVERY
            self.of_machine = tuple(health_machine.running_out(machine(self.rundir), now.step))
        silent = tuple(health_machine.stalled(self.silences, clock - self.heard, now.step))
        self._tell(
            (*self.of_steps, *judge_down(self.store, self.rundir.id, now.step), *self.of_machine, *silent), now.step
        )

    def close(self, step: int) -> None:
        """The run has ended: what only a running one can suffer from is over."""
        lasting = tuple(
            Finding(kind, alert.raised.step, "", Place("")) for kind, alert in self.open.items() if kind.of_steps
        )
        self.open = {kind: alert._replace(calm_time=-alerts.CALM_SECONDS) for kind, alert in self.open.items()}
        self._tell(lasting, step, clock=0.0)

    def crashed(self, attempt: int, step: int, why: str) -> None:
        """Posted, and no alert: the run's state says it to everybody else."""
        self.poster = self.poster or self._poster()
        self._send(f"crashed-{attempt}", f"crashed: {why}", "crashed", step, f"/?run={self.rundir.id}&tab=logs")

    def wait(self) -> None:
        """For what is to be posted yet, but not for long."""
        if self.poster:
            self.poster.close(LAST_POSTS)

    def _listen(self, now: State, clock: float) -> None:
        size = tail.size(self.rundir.log(now.attempt))
        if size != self.size:
            self.silences, self.size = self.silences.heard(now.phase, clock - self.heard), size
            self.heard = clock

    def _tell(self, found: tuple[Finding, ...], step: int, clock: float | None = None) -> None:
        clock = time.monotonic() if clock is None else clock
        after, lines = alerts.changed(self.rundir.id, self.open, found, step, time.time(), clock)
        for line in lines:
            append_line(self.rundir.events, line.model_dump(mode="json"))
            if line.change == "raised":
                self._post(line)
        self.open = after

    def _poster(self) -> webhook.Poster | None:
        try:
            hook = webhook.from_environment(os.environ)
        except webhook.WrongAddress as error:
            self._event("error", f"alerts are not posted: {error}")
            return None
        return webhook.Poster(hook, self._posted) if hook else None

    def _post(self, line: AlertLine) -> None:
        self._send(line.alert, line.text, line.what, line.step, line.link, line.time)

    def _send(self, id: str, text: str, what: str, step: int, link: str, when: float | None = None) -> None:
        if self.poster:
            body = {
                "text": f"Second Opinion, run {self.rundir.id}: {text}", "run": self.rundir.id, "name": self.config.name,
                "alert": what, "step": step, "link": link, "time": time.time() if when is None else when,
            }  # fmt: skip
            self.poster.post(webhook.Post(f"{self.rundir.id}/{id}", body))

    def _posted(self, id: str, why: str | None) -> None:
        """In the poster's thread."""
        alert = id.partition("/")[2]
        host = self.poster.hook.host if self.poster else ""
        text = f"not posted to {host}: {why}" if why else f"posted to {host}"
        self._event("warning" if why else "info", f"{alert} {text}")

    def _event(self, level: str, text: str) -> None:
        append_line(self.rundir.events, {"time": time.time(), "kind": "webhook", "level": level, "text": text})


def findings(store: Store, run: str, config: RunConfig, last: int) -> list[Finding]:
    """What is wrong in the run's steps up to the last finished one."""
    if last < 1:
        return []
    steps = store_health.steps(store, run, max(1, last - HISTORY), last - GROUPS)
    steps += store_health.steps(store, run, max(1, last - GROUPS + 1), last, compared(config))
    first = store_health.steps(store, run, 1, FIRST) if last > FIRST else []
    return [*health.shares(steps), *health_series.series(first, steps, store_health.ranges(store, run))]


def compared(config: RunConfig) -> tuple[str, ...]:
    """What the rewards have in common that the trainer compares: with an estimator of groups all replies to a prompt, else
    all of a player's in the step."""
    return (
        ("g.sample", "t.role")
        if config.mode is Mode.ASSESSOR_ONLY and config.rollout.samples_per_prompt > 1
        else ("t.role",)
    )


def judge_down(store: Store, run: str, step: int) -> list[Finding]:
    """The judge itself told that it fails, and not that it answers again."""
    told = store_health.judge_event(store, run)
    return [Finding(Kind.JUDGE, step, told[1], Place("judge"))] if told and told[0] == "error" else []


def machine(rundir: RunDir) -> Machine:
    free, whole = main_memory()
    return Machine(shutil.disk_usage(rundir.path).free / 2**20, _checkpoint_mb(rundir), free, whole)


def _checkpoint_mb(rundir: RunDir) -> float:
    """Size of the newest checkpoint. One may be deleted while it is looked at."""
    with suppress(OSError):
        newest = max(
            rundir.checkpoints.glob("_actor/global_step*"), key=lambda path: path.stat().st_mtime, default=None
        )
        return sum(path.stat().st_size for path in newest.rglob("*")) / 2**20 if newest else 0.0
    return 0.0


def main_memory(cgroup: Path = CGROUP) -> tuple[float, float]:
    """Free and all main memory that this process may use, in MB: the machine's, or less inside a container."""
    found = psutil.virtual_memory()
    free, whole = found.available, found.total
    with suppress(OSError, ValueError):
        limit = int((cgroup / "memory.max").read_text())
        held = int((cgroup / "memory.current").read_text())
        cached = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())["inactive_file"]
        if limit < whole:
            free, whole = min(free, limit - held + int(cached)), limit
    return free / 2**20, whole / 2**20
