"""A folder of runs in which things are broken on purpose: what happens to them, and whether all is true afterwards."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from launcher import engine, process, rundir, state, watch
from launcher.checkpoints import checkpoint_step
from launcher.config import DEMO_MODEL, RunConfig, resolve
from launcher.ingest import ingest
from launcher.rundir import PROJECT, RunDir
from launcher.runs import Runs
from launcher.state import QUEUED, RUNNING, End, State
from launcher.store import Store

TRUE_WITHIN, ENDED_WITHIN = 5.0, 60.0
"""Seconds until a state has to be true, and until a run that ends has no process any more."""
GAMES = 8
"""A step's."""
SMALL = {
    "rollout.batch_size": GAMES, "rollout.micro_batch_size": GAMES, "train.batch_size": 2 * GAMES,
    "train.micro_batch_size": GAMES, "data.cases": 60, "data.eval_cases": 4, "eval.steps": 3, "checkpoint.steps": 2,
}  # fmt: skip


class Untrue(AssertionError):
    """What was promised does not hold; the message says what was seen."""


@dataclass
class World:
    """`crowd` runs that have not ended at any time: one on the device, the others in the queue."""

    folder: Path
    random: Random
    real: bool
    steps: int
    crowd: int
    disk: bool
    """The folder is a small disk of its own, which may be filled."""
    started: list[RunDir] = field(default_factory=list)
    resumed: int = 0
    dashboard: subprocess.Popen | None = None
    hurt: set[str] = field(default_factory=set)
    """Runs to which something was done of which they may die later."""
    patience: float = 1.0
    """How many times the seconds that are promised may pass."""
    others: Callable[[], bool] = lambda: True
    """Another Ray cluster of the same user is whole."""

    @property
    def runs(self) -> Runs:
        return Runs(self.folder)

    def harm(self) -> str | None:
        """What was done to others, or to one another."""
        if (self.folder.parent / "together").exists():
            return "two trainers were on one device"
        return None if self.others() else "another Ray cluster of this user lost a process"

    def config(self) -> RunConfig:
        policy = DEMO_MODEL if self.real else "some/model"
        return resolve("cpu-demo", SMALL | {"train.steps": self.steps, "policy": policy})

    def fill_up(self) -> None:
        """Resumes what can be, and starts new runs, until there are enough."""
        going, waiting = [], []
        for run in self.started:
            now = self.runs.look(run)
            (waiting if now.ended_already else going).append((run, now))
        for run, now in waiting:
            if len(going) >= self.crowd:
                return
            if now.state != End.DONE and 0 < checkpoint_step(run) < now.steps:
                self.runs.resume(run.id)
                self.hurt.discard(run.id)
                self.resumed += 1
                going.append((run, now))
        while len(going) < self.crowd:
            run = self.runs.create(self.config())
            self.started.append(run)
            self.runs.start(run)
            going.append((run, state.read(run)))

    def running(self) -> RunDir:
        """The run on the device, as soon as its trainer is there."""
        self.fill_up()
        found: list[RunDir] = []

        def there() -> bool:
            with Store(self.runs.store_path) as store:
                self.runs.refresh(store)
            self.fill_up()
            found[:] = [run for run in self.started if (now := self.runs.look(run)).state == RUNNING and now.trainer]
            return bool(found)

        until(there, 30.0 * self.patience, "no run starts")
        if len(found) > 1:
            raise Untrue(f"{len(found)} runs are on one device: {', '.join(run.id for run in found)}")
        return found[0]


def until(true: Callable[[], bool], seconds: float, otherwise: str) -> float:
    """Seconds that it took. Errors: Untrue."""
    begun = time.monotonic()
    while not true():
        if time.monotonic() - begun > seconds:
            raise Untrue(f"{otherwise}, after {seconds:g} s")
        time.sleep(0.05)
    return time.monotonic() - begun


def of_run(run: RunDir) -> list[int]:
    """Processes that have the run's id in their environment or command, its supervisor aside. Not asked of our own code."""
    found, needle = [], run.id.encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes()
            ours = _supervises(words) or int(folder.name) == os.getpid()
            if not ours and words and (needle in words or needle in (folder / "environ").read_bytes()):
                found.append(int(folder.name))
    return found


def _supervises(words: bytes) -> bool:
    return b"\0launcher.supervisor\0" in words


def is_true(run: RunDir, now: State, ends: bool) -> bool:
    """What a page shows of the run is so. ends: it is known to have been ended."""
    if now.ended_already or now.state == QUEUED:
        return not of_run(run)
    stops = now.phase == state.STOPPING or watch.stop_wish(run) == "now"
    begins = now.phase == state.STARTING and not ends
    return state.supervised(now) and (stops or begins or process.alive(now.trainer) and not ends)


def settled(world: World, run: RunDir, ends: bool) -> float:
    """Seconds until the state was true, asked as a page asks. Errors: Untrue."""

    def true() -> bool:
        return is_true(run, world.runs.look(run), ends)

    return until(true, TRUE_WITHIN * world.patience, f"the state of {run.id} is not true: {state.read(run)!r}")


def ended(world: World, run: RunDir) -> State:
    until(lambda: world.runs.look(run).ended_already, ENDED_WITHIN * world.patience, f"run {run.id} does not end")
    if left := of_run(run):
        raise Untrue(f"run {run.id} has ended, and these are left: {left}")
    return state.read(run)


def account(world: World, run: RunDir) -> None:
    """Every finished step is in the index once, with all of its games, and so is every game of the records."""
    before = Counter(_games(run))  # a trainer that runs writes on meanwhile
    with Store(world.runs.store_path) as store:
        ingest(store, run.path)
        steps = [point.step for point in store.series(run.id, "reward")]
        rows = store.rows("SELECT game, step, attempt, mode FROM games WHERE run = ?", run.id)
        step = store.progress(run.id).step
        twice = store.rows("SELECT count(*) - count(DISTINCT game) FROM games WHERE run = ?", run.id)[0][0]
    if steps[:step] != list(range(1, step + 1)):
        raise Untrue(f"run {run.id} is at step {step} and its index has the steps {steps}")
    known, after = {game for game, *_ in rows}, set(_games(run))
    if twice or not before.keys() <= known <= after or any(count > 1 for count in before.values()):
        raise Untrue(
            f"run {run.id} has {len(before)} to {len(after)} games in its records and {len(rows)} in its index"
        )
    played = [(at, attempt) for _, at, attempt, mode in rows if mode == "train"]
    newest = {one: max(attempt for at, attempt in played if at == one) for one, _ in played}
    counts = Counter(at for at, attempt in played if attempt == newest[at])
    wrong = {one: counts[one] for one in range(1, step + 1) if counts[one] != GAMES}
    if wrong:
        raise Untrue(f"run {run.id} is at step {step}; steps with another number of games than {GAMES}: {wrong}")


def _games(run: RunDir) -> Iterator[str]:
    for path in run.games.glob("*.jsonl"):
        for line in path.read_bytes().split(b"\n")[:-1]:
            with suppress(ValueError):
                yield json.loads(line)["game"]


# the place


@contextmanager
def world(seed: int, real: bool, steps: int) -> Iterator[World]:
    """A world of its own, of which nothing is left. Errors: engine.EngineError where there is no engine."""
    with ExitStack() as holding:
        outside = Path(holding.enter_context(TemporaryDirectory(prefix="so-chaos-", ignore_cleanup_errors=True)))
        disk = holding.enter_context(place(outside / "runs", 1500 if real else 200))
        holding.enter_context(environment({"SECOND_OPINION_RUNS": str(outside / "runs")}))
        made = World(outside / "runs", Random(seed), real, steps, 1 if real else 3, disk)
        if real:
            found = engine.find("cpu")
            if found is None:
                raise engine.EngineError(engine.missing("cpu"))
            made.others = holding.enter_context(bystander(found.python, outside / "ray"))
        else:
            holding.enter_context(fake_engine(outside, steps, 0.1))
        holding.callback(close, made)
        yield made


@contextmanager
def place(folder: Path, megabytes: int) -> Iterator[bool]:
    """The folder as a disk of its own, if this user may mount one."""
    folder.mkdir(parents=True)
    small = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(small, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def fake_engine(folder: Path, steps: int, pace: float) -> Iterator[None]:
    """An engine that trains nothing, from the tests: `pace` seconds a step."""
    script = folder / "python"
    source = (PROJECT / "tests" / "fake_engine.py").read_text(encoding="utf-8")
    script.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
    script.chmod(0o755)
    made = {
        "ENGINE_PYTHON": str(script), "FAKE_VERSIONS": json.dumps(engine.pins(engine.lock("cpu"))),
        "FAKE_TRAINER": "done", "FAKE_STEPS": str(steps), "FAKE_PACE": str(pace), "FAKE_GAMES": str(GAMES),
        "FAKE_ALONE": str(folder / "together"),
    }  # fmt: skip
    with environment(made):
        yield


@contextmanager
def environment(made: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(made)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def bystander(python: Path, folder: Path) -> Iterator[Callable[[], bool]]:
    """Another Ray cluster of this user, with nothing to do with any run: what is yielded tells whether it is whole."""
    ports = [f"--port={free_port()}", f"--ray-client-server-port={free_port()}"]
    words = ["start", "--head", *ports, "--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    argv = [str(python.with_name("ray")), *words, "--object-store-memory=80000000", f"--temp-dir={folder}"]
    subprocess.run(argv, env=environment, check=True, capture_output=True)
    family = [process.identify(pid) for pid in _mentioning(str(folder))]
    try:
        yield lambda: all(process.alive(one) for one in family)
    finally:
        for one in family:
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)


def _mentioning(text: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(folder.name) != os.getpid() and text.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def open_dashboard(world: World) -> float:
    """Starts it; seconds until it answers."""
    port = free_port()
    argv = [sys.executable, "-m", "app", "--port", str(port)]
    env = os.environ | {"SECOND_OPINION_RUNS": str(world.folder)}
    world.dashboard = subprocess.Popen(argv, cwd=PROJECT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).status == 200
        return False

    return until(answers, 60.0 * world.patience, "the dashboard does not answer")


def close(world: World) -> None:
    """Ends whatever is left of the world."""
    if world.dashboard:
        world.dashboard.kill()
        world.dashboard.wait()
    for run in rundir.every(world.folder):
        with suppress(Exception):
            now = state.read(run)
            if now.state == RUNNING and process.alive(now.supervisor):
                os.kill(now.supervisor.pid, signal.SIGKILL)
        process.end(run.id, None)
