"""An existing Ray cluster, asked over HTTP: whether it can take a run, and to end a run's jobs.

Its dashboard answers at the address that `cluster.ray_address` names; Ray's package has one only with `ray[default]`.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx

from launcher import engine, wandb
from launcher.config import RunConfig
from launcher.engine import Engine
from medical_team.judge.settings import HTTP, SERVER

SECONDS, PATIENT_SECONDS = 3.0, 20.0
"""Longest wait for one answer: before a start, and at a run's end, when a job is at stake."""
STOP_SECONDS = 30.0
"""How long a job that was asked to stop may take."""
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
ADDRESS = "cluster.ray_address"
ENDED = {"SUCCEEDED", "FAILED", "STOPPED"}


class Silent(RuntimeError):
    """Nothing that is a Ray cluster answers at the address; the message says what to do."""


class Amount(NamedTuple):
    total: float
    used: float

    @property
    def free(self) -> float:
        return self.total - self.used


class Cluster(NamedTuple):
    version: str
    hosts: frozenset[str]
    """Addresses of its machines."""
    gpus: Amount
    cpus: Amount


def ask(address: str) -> Cluster:
    """What the cluster is. Errors: Silent."""
    version = _answer("GET", address, "/api/version", SECONDS)
    nodes = _answer("GET", address, "/api/v0/nodes", SECONDS)
    status = _answer("GET", address, "/api/cluster_status", SECONDS)
    try:
        usage = status["data"]["clusterStatus"]["loadMetricsReport"]["usage"]
        alive = [node for node in nodes["data"]["result"]["result"] if node["state"] == "ALIVE"]
        gpus, cpus = (_amount(usage.get(name, [0.0, 0.0])) for name in ("GPU", "CPU"))
        return Cluster(version["ray_version"], frozenset(node["node_ip"] for node in alive), gpus, cpus)
    except (KeyError, TypeError) as error:
        raise Silent(f"{address} answers, but not as Ray's dashboard does: give the address of a Ray head") from error


def _amount(used_and_total: list[float]) -> Amount:
    used, total = used_and_total
    return Amount(total, used)


def _answer(method: str, address: str, path: str, seconds: float = PATIENT_SECONDS) -> Any:
    try:
        answer = httpx.request(method, address + path, timeout=seconds)
        answer.raise_for_status()
        return answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, json.JSONDecodeError) as error:
        start = "start its head with `ray start --head` and the packages of ray[default], which its jobs need"
        why = str(error) or type(error).__name__
        raise Silent(f"no Ray dashboard answers at {address} ({why.splitlines()[0]}): {start}") from error


class Need(NamedTuple):
    gpus: int
    cpus: int


def need(config: RunConfig) -> Need:
    """What the run's actors reserve. A CPU run counts GPUs too: OpenRLHF asks for one for every actor."""
    colocated = config.device == "cuda" and config.memory.colocate_all
    engines = config.cluster.rollout_engines * config.cluster.tensor_parallel
    references = config.reference_gpus if config.train.kl_coefficient else 0
    gpus = config.training_gpus if colocated else config.training_gpus + references + engines
    return Need(gpus, gpus + 1)  # one more CPU to place the actor that leads the others


class Trouble(NamedTuple):
    """What stands in the way of a run on a cluster."""

    setting: str
    text: str
    level: Literal["error", "warning"]


def trouble(config: RunConfig, found: Cluster, here: frozenset[str], runs: Path) -> Iterator[Trouble]:
    """here: this machine's addresses. runs: the folder of all runs."""
    yield from _version(config, found)
    yield from _resources(config, found)
    if others := sorted(found.hosts - here):
        paths = [str(runs), *([config.policy] if Path(config.policy).is_dir() else [])]
        text = f"{' and '.join(paths)} must be at the same path on {', '.join(others)} as here"
        yield Trouble(ADDRESS, f"{text}: the job reads its data there, and writes games and checkpoints", "warning")
    if others and config.judge.kind in (HTTP, SERVER) and httpx.URL(config.judge.url).host in LOOPBACK:
        text = f"{config.judge.url} is another machine on {', '.join(others)}: give the address that they know it by"
        yield Trouble("judge.url", text, "warning")
    started = "must be in the environment that the cluster was started in: no secret travels with a job"
    if config.logging.wandb.enabled:
        yield Trouble("logging.wandb.enabled", f"{wandb.KEY} {started}", "warning")
    if config.judge.token_variable:
        yield Trouble("judge.token_variable", f"{config.judge.token_variable} {started}", "warning")


def _version(config: RunConfig, found: Cluster) -> Iterator[Trouble]:
    pinned = engine.pins(engine.lock(config.device))["ray"]
    if found.version != pinned:
        text = f"the cluster runs Ray {found.version}, the engine needs {pinned}: install the engine on its machines"
        yield Trouble(ADDRESS, text, "error")


def _resources(config: RunConfig, found: Cluster) -> Iterator[Trouble]:
    wanted = need(config)
    for kind, amount, asked in (("GPUs", found.gpus, wanted.gpus), ("CPUs", found.cpus, wanted.cpus)):
        if amount.total < asked:
            text = f"the run takes {asked} {kind}, the cluster has {amount.total:g}: ask for less, or add nodes"
            yield Trouble("cluster.gpus_per_node" if kind == "GPUs" else ADDRESS, text, "error")
        elif amount.free < asked:
            text = f"the run takes {asked} {kind}, and {amount.free:g} of the cluster's {amount.total:g} are free"
            yield Trouble(ADDRESS, f"{text}: it would wait for the others", "warning")


def client(device: engine.Device) -> Engine | None:
    """The engine whose Python submits the job: the device's, or one for CPUs, as this machine may have no GPU."""
    return engine.find(device) or engine.find("cpu")


def client_problems(device: engine.Device) -> list[str]:
    """What keeps this machine from submitting: only Ray counts, the rest runs on the cluster."""
    found = client(device)
    if found is None:
        return [engine.missing("cpu")]
    problem = engine.version_problem(found, "ray", (engine.pins(engine.lock("cpu"))["ray"],))
    return [problem] if problem else []


def job_id(run: str, attempt: int) -> str:
    return f"{run}-{attempt}"


def end_jobs(address: str, run: str, attempts: int) -> list[str]:
    """Ends every job of the run, with its actors, and nothing else. What could not be ended, named."""
    try:
        known = {job["submission_id"]: job["status"] for job in _answer("GET", address, "/api/jobs/")}
        ours = [id for number in range(attempts) if (id := job_id(run, number + 1)) in known]
        running = [id for id in ours if known[id] not in ENDED]
        for id in running:
            _answer("POST", address, f"/api/jobs/{id}/stop")
        return [f"job {id} on {address}" for id in running if not _ends(address, id)]
    except Silent as error:
        return [f"the job of run {run}, perhaps: {error}"]


def _ends(address: str, id: str) -> bool:
    deadline = time.monotonic() + STOP_SECONDS
    while _answer("GET", address, f"/api/jobs/{id}")["status"] not in ENDED:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True
