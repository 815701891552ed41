"""The supervisor: one process per run, in a session of its own, as long as the run lasts.

It starts the trainer, samples memory, ingests what the trainer writes, obeys stop, and writes the end. Everything it
knows is in the run's folder, so another supervisor can take over a trainer whose supervisor was killed.
"""

import fcntl
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from launcher import causes, command, devices, engine, footprint, process, ray_cluster, state, tail, trouble, webhook
from launcher.checkpoints import checkpoint_step, kept, old_models, resume_step, saved
from launcher.config import Mode, RunConfig
from launcher.health_watch import Watch
from launcher.ingest import ingest, ingest_all
from launcher.ray_log import unheard
from launcher.reading import config_of
from launcher.rundir import PROJECT, RunDir, append_line, read_json, write_json
from launcher.soundness import Soundness
from launcher.state import STOPPING, End, State
from launcher.store import Failure, Store

TICK, LONGEST_TICK = 0.2, 0.5
"""Seconds between two looks at the files, at least and at most."""

MEMORY_EVERY = {"cpu": 2.0, "cuda": 1.0}
"""Least seconds between two samples of memory. The kernel takes longer to tell than the GPU's driver."""

SHARE = 0.01
"""Of a core: what looking may cost, and half as much for memory. What costs more is done less often."""

PATIENCE = 2.0
"""Seconds that a supervisor waits for the index: it has a stop to obey meanwhile, and can take the lines later."""

MADE_AGAIN = 60.0
"""Least seconds between two times that a supervisor makes the index anew."""

MOST_TRIES = 3
"""Supervisors that may be killed before a run's trainer was started, until it is given up."""


class Busy(RuntimeError):
    """Another supervisor has this run."""


@contextmanager
def sole(rundir: RunDir, patience: float = 0.0):
    """Holds the run for this process alone; waits up to `patience` seconds for it. Errors: Busy.

    The lock goes with the process, however it ends.
    """
    deadline = time.monotonic() + patience
    with rundir.lock.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise Busy(f"run {rundir.id} has a supervisor already") from error
                time.sleep(0.05)
        yield


def supervise(rundir: RunDir, store_path: Path) -> State:
    """Sees the run through to its end: starts its trainer, or takes over the one that is still running."""
    with sole(rundir, patience=10.0):
        now = state.read(rundir)
        if now.state != state.RUNNING:  # whoever started this did not get as far as to write down that the run starts
            return now
        with devices.held(rundir.path.parent, now.devices), Store(store_path, PATIENCE) as store:
            config, me = config_of(rundir), process.identify(os.getpid())
            now = state.change(rundir, now, supervisor=me, boot=process.boot())
            return Supervision(rundir, config, store, now).run()


def conclude(rundir: RunDir, store_path: Path, patience: float = 0.0) -> State:
    """Writes the end of a run whose supervisor and trainer are both gone. Errors: Busy if somebody has it."""
    with sole(rundir, patience), Store(store_path) as store:
        work = Supervision(rundir, config_of(rundir), store, state.read(rundir))
        if state.orphaned(work.state):
            work.conclude()
        return work.state


class Supervision:
    """One supervisor's work. `state` is what state.json says."""

    def __init__(self, rundir: RunDir, config: RunConfig, store: Store, now: State):
        self.rundir, self.config, self.store, self.state = rundir, config, store, now
        self.child: subprocess.Popen | None = None
        self.heard = (0, now.last_event)
        """Size of the trainer's log, and when it last grew."""
        self.soundness = Soundness(rundir.id, config, store, now.attempts[-1])
        self.health = Watch(rundir, config, store)
        self.looks = trouble.Looks(lambda text: self._event("warning", "watcher", text), self._make_index_again)
        self.index_made = -MADE_AGAIN
        self.pss = footprint.Pss()
        self.oom_kills = process.oom_kills()

    def run(self) -> State:
        try:
            goes_on = self._adopt() if self._running() else self._start()
            if goes_on and self._watch():
                self.conclude()
        except Exception as error:
            self._end(End.CRASHED, f"the supervisor failed: {type(error).__name__}: {error}")
            raise
        return self.state

    def _change(self, **changes) -> None:
        self.state = state.change(self.rundir, self.state, **changes)

    def _event(self, level: str, kind: str, text: str) -> None:
        """What cannot be written down is not told: nothing waits for it."""
        with suppress(OSError):
            append_line(self.rundir.events, {"time": time.time(), "level": level, "kind": kind, "text": text})

    def _running(self) -> bool:
        """There is a trainer. The supervisor that started it may have been killed before it could write it down."""
        if self.state.trainer is None and (found := process.trainer_of(self.rundir.id)):
            self._change(trainer=found, tries=0)
        return self.state.trainer is not None

    def _adopt(self) -> bool:
        """True if the trainer goes on under this supervisor."""
        if self.config.if_supervisor_dies == "end" and state.training(self.state):
            self._end(End.STOPPED, "its supervisor was killed, and the run was to end then")
            return False
        self._event("info", "adopted", "took over the trainer from a supervisor that is gone")
        return True

    def _start(self) -> bool:
        """True once the trainer runs; False if the run was stopped before."""
        process.end(self.rundir.id, None)  # what a supervisor that was killed had begun
        self.rundir.scratch.mkdir(exist_ok=True)
        trouble.set_ballast(self.rundir.ballast)
        device, cluster = self.config.device, self.config.cluster.ray_address
        found = ray_cluster.client(device) if cluster else engine.find(device)
        if found is None:
            raise RuntimeError(engine.missing(device))
        if cluster:
            again = self.state.tries > 1  # a supervisor before this one may have submitted the job
            self._end_jobs(self.state.attempt - (not again))
        start = command.Start(self.config, self.rundir, self.state.attempt, self.state.attempts[-1])
        job = command.build(start, found)
        write_json(self.rundir.command, described(job, found.versions))
        environment = job.environment({key: value for key, value in os.environ.items() if key not in webhook.PRIVATE})
        environment |= devices.visible(self.state.devices)
        if self.config.mode is Mode.ASSESSOR_ONLY and not self._render(found.python, environment):
            return False
        self.child = process.spawn(job.argv, environment, self.rundir.log(self.state.attempt), PROJECT)
        self._change(trainer=process.identify(self.child.pid), tries=0)
        self._event("info", "started", f"trainer {self.child.pid}, attempt {self.state.attempt}")
        return True

    def _end_jobs(self, attempts: int) -> list[str]:
        """Ends the run's jobs of so many starts on its cluster, if it has one; what could not be ended."""
        address = self.config.cluster.ray_address
        return ray_cluster.end_jobs(address, self.rundir.id, attempts) if address and attempts else []

    def _render(self, python: Path, environment: dict[str, str]) -> bool:
        """OpenRLHF's single-turn mode takes prompts as text: the model's own tokenizer writes them, once."""
        words = ("--model", self.config.policy, "--folder", str(self.rundir.data))
        return self._finished([str(python), "-m", "medical_team.render", *words], environment)

    def _finished(self, argv: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Runs what comes before the trainer to its end. False if the run was stopped meanwhile. Errors: RuntimeError."""
        log = self.rundir.log(self.state.attempt)
        with log.open("ab") as output:
            child = subprocess.Popen(argv, env=environment, cwd=PROJECT, stdout=output, stderr=output)
        while child.poll() is None:
            if self._should_stop():
                self._end(End.STOPPED, self._why_stop())
                child.wait()
                return False
            time.sleep(TICK / 4)
        if child.returncode:
            raise RuntimeError(f"{argv[2]} ended with exit code {child.returncode}: {last_line(log)}")
        return True

    def _watch(self) -> bool:
        """True when the trainer has ended by itself; False when it was ended here."""
        next_sample = 0.0
        with self.looks.at("what was not posted"):
            self.health.begin()
        while self._trainer_runs():
            begun = time.process_time()
            self._look()
            looked = time.process_time()
            if time.monotonic() >= next_sample:
                with self.looks.at("memory"):
                    self._sample_memory()
                dear = (time.process_time() - looked) * 2 / SHARE
                next_sample = time.monotonic() + max(MEMORY_EVERY[self.config.device], dear)
            if verdict := self._verdict():
                self._end(*verdict)
                return False
            time.sleep(min(LONGEST_TICK, max(TICK, (looked - begun) / SHARE)))
        return True

    def _look(self) -> None:
        with self.looks.at("the trainer's files"):
            self._ingest()
        with self.looks.at("the run's health"):
            self.health.look(self.state)
        with self.looks.at("old checkpoints"):
            for folder in old_models(self.rundir, kept(self.config)):
                shutil.rmtree(folder)

    def _verdict(self) -> tuple[End, str] | None:
        """How the run is to be ended here and now, and why; None as long as it goes on."""
        with self.looks.at("the trainer's soundness"):
            if why := self.soundness.fault(self.state):
                return End.CRASHED, why
        with self.looks.at("the wish to stop"):
            if self._should_stop():
                return End.STOPPED, self._why_stop()
        return None

    def _trainer_runs(self) -> bool:
        return self.child.poll() is None if self.child else state.training(self.state)

    def _ingest(self) -> None:
        self._take()
        progress = self.store.progress(self.rundir.id)
        if (size := tail.size(self.rundir.log(self.state.attempt))) != self.heard[0]:
            self.heard = size, time.time()
        new = (progress.step, progress.phase) != (self.state.step, self.state.phase)
        mine = progress.attempt == self.state.attempt  # until this start has printed something, it is the last one's
        if new and mine:
            self._change(step=progress.step, phase=progress.phase, last_event=self.heard[1])

    def _take(self, finish: bool = False) -> None:
        ingest(self.store, self.rundir.path, finish)

    def _make_index_again(self, error: Exception) -> None:
        """A damaged index is no reason to end: all of it is in the files. Not at every look, should that not help."""
        if time.monotonic() < self.index_made + MADE_AGAIN:
            raise error
        self.index_made = time.monotonic()
        aside = self.store.set_aside()
        self._event("warning", "index", f"the index was damaged ({error}) and is made again; the old one is {aside}")
        ingest_all(self.store, self.rundir.path.parent)

    def _sample_memory(self) -> None:
        cluster, on_gpu = self.config.cluster.ray_address, self.config.device == "cuda"
        if cluster and on_gpu and not footprint.has_gpu():
            return
        processes = self._processes()
        self.soundness.know(processes)
        held = (footprint.on_gpu if on_gpu else self.pss.sample)(processes)
        append_line(self.rundir.memory, {
            "time": time.time(), "phase": self.state.phase, "total_mb": sum(one.mb for one in held),
            "source": "nvml" if on_gpu else "pss",
            "processes": [one._asdict() for one in held],
        })  # fmt: skip

    def _processes(self) -> list[psutil.Process]:
        """Of the run, on this machine. Those of a cluster's job are no children of ours."""
        on_cluster = self.config.cluster.ray_address is not None
        return process.marked(self.rundir.id) if on_cluster else process.family(self.state.trainer)

    def _should_stop(self) -> bool:
        if not self.rundir.stop.exists():
            return False
        wish, newest = read_json(self.rundir.stop), checkpoint_step(self.rundir)
        return wish["when"] == "now" or (newest > wish["checkpoint"] and self._saved(newest))

    def _saved(self, step: int) -> bool:
        return self.state.step > step or saved(self.rundir, step, self.config, self.rundir.log(self.state.attempt))

    def _why_stop(self) -> str:
        """A run can ask for its own end, and then says why: see `medical_team.judge.failures`."""
        return read_json(self.rundir.stop).get("why", "stopped as asked")

    def conclude(self) -> None:
        """The trainer is gone: what it left behind says whether it finished."""
        with self.looks.at("the trainer's last lines"):
            self._hear_out()
            self._ingest()
        code = self.child.returncode if self.child else None
        if self.state.step >= self.state.steps and (self.rundir.model / "config.json").exists() and not code:
            return self._end(End.DONE, f"all {self.state.steps} steps made", code)
        oom_kills = process.oom_kills() - self.oom_kills
        cause = causes.unseen(self.state) if code is None else causes.died(code, oom_kills)
        self._end(End.CRASHED, cause, code, oom_kills)

    def _end(self, how: End, reason: str, code: int | None = None, oom_kills: int = 0) -> None:
        """The processes first: whatever cannot be looked at or told of afterwards keeps no run from its end."""
        with self.looks.at("state.json"):
            self._change(phase=STOPPING)
        log = self.rundir.log(self.state.attempt)
        said = tail.size(log) if self._trainer_runs() else None  # what it prints from now on is about its being ended
        left = self._end_processes()
        with self.looks.at("the trainer's last lines"):
            self._hear_out()
            self._take(finish=True)
        failure = self._failure(said) if how is End.CRASHED else None
        if failure and code is not None:
            reason = f"{reason}: {failure.summary}"
        if how is End.CRASHED:
            with self.looks.at("the checkpoints"):
                reason = f"{reason}; {self._advice(failure.traceback if failure else reason, oom_kills)}"
        self._tell_end(how, reason)
        self._change(
            state=how, phase=how, ended=time.time(), exit_code=code, reason=reason, step=self._last_step(),
            traceback=failure.traceback if failure else None, left_over=left,
        )  # fmt: skip
        with self.looks.at("the run's files"):
            self._take(finish=True)
        with suppress(OSError):
            self.rundir.stop.unlink(missing_ok=True)
        shutil.rmtree(self.rundir.scratch, ignore_errors=True)
        self.health.wait()

    def _hear_out(self) -> None:
        """Brings into the trainer's log what Ray had not brought there."""
        self._take()
        log = self.rundir.log(self.state.attempt)
        if lines := unheard(self.rundir.scratch, log, self._last_step()):
            with log.open("ab") as file:
                file.write(b"\n".join([b"", *lines, b""]))

    def _end_processes(self) -> tuple[str, ...]:
        """What could not be ended, named. Makes room for the end to be written down, too."""
        jobs = []
        with self.looks.at("the cluster's jobs"):
            jobs = self._end_jobs(self.state.attempt)
        left = process.end(self.rundir.id, self.state.trainer)
        with suppress(OSError):
            self.rundir.ballast.unlink(missing_ok=True)
        return *footprint.named(left), *jobs

    def _failure(self, said: int | None) -> Failure | None:
        """What the trainer failed of, if it told so in the first `said` bytes of its log, or in all of it."""
        with self.looks.at("the trainer's errors"):
            return self.store.failure(self.rundir.id, math.inf if said is None else said)
        return None

    def _last_step(self) -> int:
        with self.looks.at("the last step"):
            return self.store.progress(self.rundir.id).step
        return self.state.step

    def _advice(self, told: str, oom_kills: int) -> str:
        return causes.what_to_do(resume_step(self.rundir, self._last_step()), self.state.steps, oom_kills, told)

    def _tell_end(self, how: End, reason: str) -> None:
        with self.looks.at("the run's health"):
            self.health.close(self.state.step)
            if how is End.CRASHED:
                self.health.crashed(self.state.attempt, self.state.step, reason)
        self._event("error" if how is End.CRASHED else "info", how, reason)


def described(job: command.Command, versions: dict[str, str]) -> dict:
    """command.json: enough to run the job again by hand."""
    return {
        "argv": list(job.argv), "env": dict(job.env), "unset": list(job.unset), "shell": job.shell(),
        "versions": versions, "commit": commit(),
    }  # fmt: skip


def commit() -> str | None:
    """The project's commit, marked if the tree differs from it. None outside a checkout."""
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"], cwd=PROJECT, capture_output=True, text=True
        )
    except FileNotFoundError:
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None


def last_line(log: Path) -> str:
    lines = log.read_bytes()[-2000:].decode("utf-8", "backslashreplace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


def spawn(rundir: RunDir, now: State, seen: State | None, patience: float = 0.0) -> None:
    """Starts the run's supervisor in the background, and writes `now` with the process that it is.

    Nobody sees the state without its supervisor, and would take the run for lost. Errors: Busy, also where the state is no
    longer the one that was `seen`.
    """
    argv = [sys.executable, "-m", "launcher.supervisor", rundir.id]
    env = os.environ | {"SECOND_OPINION_RUNS": str(rundir.path.parent)}
    with sole(rundir, patience):
        if state.read(rundir) != seen:
            raise Busy(f"run {rundir.id} was started or ended by another process")
        who = process.detach(argv, env, rundir.supervisor_log, PROJECT)
        tries = now.tries + (now.trainer is None)
        state.write(rundir, now.model_copy(update={"supervisor": who, "boot": process.boot(), "tries": tries}))
