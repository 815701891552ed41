"""What can be done with runs: the verbs that the command line and the dashboard share."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from launcher import devices, engine, prepare, queue, rundir, state, supervise, trouble
from launcher.checkpoints import checkpoint_step, steps
from launcher.config import DEMO_MODEL, RunConfig
from launcher.ingest import ingest
from launcher.reading import Unreadable, config_of
from launcher.rundir import PROJECT, RunDir, write_json
from launcher.state import End, State
from launcher.store import Store
from medical_team import demo_model
from medical_team.judge.settings import LOCAL

DEMO_MODEL_FOLDER = PROJECT / "data" / "built" / "demo-model"
DEMO_MODEL_SEEDS = (0, 1, 2)
LAST_THREADS = 0.5
"""Seconds for which a process that was killed may still hold its locks."""


class Refused(ValueError):
    """What was asked for cannot be done; the message says why and what to do."""


@dataclass(frozen=True)
class Runs:
    """The runs of one folder, and their index."""

    folder: Path

    @classmethod
    def here(cls) -> "Runs":
        folder = rundir.runs_folder()
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder)

    @property
    def store_path(self) -> Path:
        return self.folder / "runs.db"

    def create(self, config: RunConfig) -> RunDir:
        """Writes a new run's folder: its resolved config and its data. Nothing is started.

        Errors: Refused, medec.DataError with file, lines and reasons, or prepare.NoCases; then no folder is left.
        """
        config = settled(config)
        now = time.time()
        made = new_folder(self.folder, (rundir.new_id(now) for _ in count()))
        try:
            prepare.for_run(config, made.data)
        except BaseException:
            made.path.rmdir()
            raise
        made.games.mkdir()
        write_json(made.config, {"id": made.id, "created": now} | config.model_dump(mode="json"))
        return made

    def start(self, run: RunDir) -> None:
        """Puts the run into the queue, from which it starts at once if its device is free. Returns at once."""
        now = time.time()
        self._join(run, State(steps=config_of(run).train.steps, started=now, last_event=now))

    def resume(self, id: str, step: int | None = None) -> RunDir:
        """Queues a run that has ended, to go on from its newest checkpoint or that of `step`, or one that never started.

        From a step before the newest a run goes on that has made all its steps, too. Errors: Refused.
        """
        run = rundir.find(self.folder, id)
        now = self.look(run)
        if now is not None and not now.ended_already:
            doing = "waits in the queue" if now.state == state.QUEUED else "is running"
            raise Refused(f"run {id} {doing}; only a run that has ended can be resumed")
        if step is not None and step not in (there := steps(run)):
            which = f"those of steps {', '.join(map(str, there))}" if there else "none"
            raise Refused(f"run {id} has no checkpoint of step {step}; there are {which}")
        if now is None:
            self.start(run)
            return run
        goes_on = checkpoint_step(run) if step is None else step
        if goes_on >= now.steps or (step is None and now.state == End.DONE):
            raise Refused(f"run {id} has made all its {now.steps} steps; start a new run to go on")
        if goes_on == 0 and now.trainer is not None:
            raise Refused(f"run {id} has no checkpoint to resume from; start it anew with `launcher run`")
        self._join(run, now, step)
        return run

    def _join(self, run: RunDir, now: State, step: int | None = None) -> None:
        try:
            queue.join(run, now, step)
        except supervise.Busy as error:
            raise Refused(f"{error}; it is being resumed or ended right now") from error
        self.advance()

    def stop(self, id: str, when: str) -> None:
        """Asks the supervisor to stop `now` or after the next `checkpoint`; a run that waits leaves the queue.

        Errors: Refused.
        """
        run = rundir.find(self.folder, id)
        now = self.look(run)
        if now is not None and now.state == state.QUEUED:
            try:
                return self.withdraw(id)
            except Refused:
                now = self.look(run)
                if now.state == state.QUEUED:
                    raise  # or else its turn has come meanwhile, and it is stopped like any that runs
        if now is None or now.ended_already:
            raise Refused(f"run {id} is not running")
        if when not in ("now", "checkpoint"):
            raise Refused(f"a run is stopped now or after the next checkpoint, not {when!r}")
        if when == "checkpoint" and not config_of(run).checkpoint.steps:
            raise Refused(f"run {id} saves no checkpoints (checkpoint.steps is 0); use --now")
        write_json(run.stop, {"when": when, "asked": time.time(), "checkpoint": checkpoint_step(run)})

    def withdraw(self, id: str) -> None:
        """Takes a run out of the queue. Errors: Refused."""
        try:
            queue.withdraw(rundir.find(self.folder, id))
        except (queue.NotWaiting, supervise.Busy) as error:
            raise Refused(str(error)) from error
        self.advance()

    def move(self, id: str, place: int) -> int:
        """Gives a run that waits this place, 1 for the first; returns the place that it got. Errors: Refused."""
        try:
            return queue.move(self.folder, rundir.find(self.folder, id).id, place)
        except queue.NotWaiting as error:
            raise Refused(str(error)) from error

    def advance(self) -> None:
        """Starts what is next in the queue, if its device is free: those who had it last are looked at first."""
        if queue.waiting(self.folder):
            for run in devices.holders(self.folder):
                with suppress(Unreadable):
                    self.look(run)
            queue.advance(self.folder)

    def look(self, run: RunDir) -> State | None:
        """The run's state, made true: a trainer that lost its supervisor gets a new one, a lost run its end.

        Errors: Unreadable for a state.json, or of a lost run a config.json, that is damaged.
        """
        now = state.read(run)
        if now is None or not state.orphaned(now):
            return now
        config_of(run)
        with suppress(supervise.Busy), trouble.tolerated():  # on a full disk whoever looks next does it
            if state.training(now) or _never_trained(now):
                supervise.spawn(run, now, now, LAST_THREADS)
            else:
                supervise.conclude(run, self.store_path, LAST_THREADS)
        return state.read(run)

    def wait(self, run: RunDir, poll=lambda now: None) -> State:
        """Blocks until the run has ended; calls `poll` with its state about twice a second."""
        while True:
            self.advance()
            now = self.look(run)
            poll(now)
            if now.ended_already:
                return now
            time.sleep(0.5)

    def refresh(self, store: Store) -> None:
        """Makes every run's state true where it can be read, and its rows complete."""
        for run in rundir.every(self.folder):
            with suppress(Unreadable):
                self.look(run)
            ingest(store, run.path)
        self.advance()


def new_folder(runs: Path, ids: Iterator[str]) -> RunDir:
    """A run's folder, by the first of the ids that is not taken: two runs of one second may draw the same."""
    while True:
        made = RunDir(runs / next(ids))
        with suppress(FileExistsError):
            made.path.mkdir()
            return made


def _never_trained(now: State) -> bool:
    """Its supervisor was killed before it could start, or write down, the trainer."""
    return now.trainer is None and not state.rebooted(now) and now.tries < supervise.MOST_TRIES


def settled(config: RunConfig) -> RunConfig:
    """The config as it will be written down: paths in full, `demo` as the built model's folder, this machine's threads.

    Errors: Refused for a demo model that is missing or not fit to be trained.
    """
    changes = {}
    if config.data.path:
        changes["data"] = config.data.model_copy(update={"path": config.data.path.resolve()})
    folder = DEMO_MODEL_FOLDER if config.policy == DEMO_MODEL else Path(config.policy)
    is_demo = config.policy == DEMO_MODEL or (folder / "skill.json").exists()
    if is_demo and (problem := demo_model.check(folder)):
        raise Refused(problem)
    if is_demo or folder.is_dir():
        changes["policy"] = str(folder.resolve())
    if config.memory.adam_offload and not config.memory.cpu_threads:
        threads = max(1, len(os.sched_getaffinity(0)) - 2)
        changes["memory"] = config.memory.model_copy(update={"cpu_threads": threads})
    if config.judge.kind == LOCAL and Path(config.judge.model).is_dir():
        place = str(Path(config.judge.model).resolve())
        changes["judge"] = config.judge.model_copy(update={"model": place})
    return config.model_copy(update=changes)


def setup(say: Callable[[str], None]) -> None:
    """Installs the CPU engine and builds the demo model, whatever is missing.

    Errors: engine.EngineError; Refused if the model did not get good enough.
    """
    found = engine.find("cpu") if engine.complete("cpu") else engine.install("cpu", say)
    say(f"engine: {found.python}")
    if demo_model.check(DEMO_MODEL_FOLDER):
        build_demo_model(found, say)
    say(f"demo model: {DEMO_MODEL_FOLDER}")


def build_demo_model(found: engine.Engine, say: Callable[[str], None]) -> None:
    """Builds it from the first seed; from the next ones only where that did not get good enough. Errors: Refused."""
    for seed in DEMO_MODEL_SEEDS:
        last = _warm_start(found, seed, say)
        if not demo_model.check(DEMO_MODEL_FOLDER):
            return
    raise Refused(f"the demo model was not built: {last}")


def _warm_start(found: engine.Engine, seed: int, say: Callable[[str], None]) -> str:
    """The last line that it printed, errors included."""
    argv = [str(found.python), "-m", "medical_team.demo_model", "--out", str(DEMO_MODEL_FOLDER), "--seed", str(seed)]
    env = os.environ | engine.environment("cpu", found.versions)
    last = ""
    with subprocess.Popen(
        argv, cwd=PROJECT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        for line in child.stdout:
            last = line.strip() or last
            if line.startswith("progress"):
                say(f"demo model: {last}")
    return last
