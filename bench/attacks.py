"""Attacks over plain HTTP on a running dashboard, each with what it got: `python -m bench.attacks` prints the table.

Two dashboards are started over one folder of runs: one on the loopback address without a login, which has to withstand other
sites' pages and odd paths, and one with a login, which has to tell and do nothing for those who have none.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

PROJECT = Path(__file__).resolve().parent.parent
MARK = "what nobody may read"
"""Stands in a file beside the runs folder, and in the runs' own files."""

RUN = "20260102-030405-abcd"
USER, PASSWORD = "somebody", "correct horse"
EVIL, CROSS = "https://attacker.example", "cross-site"


class Target(NamedTuple):
    """A dashboard that is attacked."""

    address: str
    runs: Path
    functions: dict[str, int]
    """Server functions of the page by name, and the component that has them."""


class Attack(NamedTuple):
    name: str
    make: Callable[[Target], httpx.Request]
    refused: tuple[int, ...]
    """Any of these says that it failed; so does an answer that is `harmless`."""
    harmless: str = ""
    """Text of an answer with status 200 that tells and does nothing."""


class Outcome(NamedTuple):
    attack: str
    got: str
    held: bool


def get(path: str, **headers: str) -> Callable[[Target], httpx.Request]:
    return lambda target: httpx.Request("GET", target.address + path, headers=_headers(headers))


def post(path: str, json: object = None, **headers: str) -> Callable[[Target], httpx.Request]:
    return lambda target: httpx.Request("POST", target.address + path, json=json or {}, headers=_headers(headers))


def call(function: str, data: object, **headers: str) -> Callable[[Target], httpx.Request]:
    """A server function of the page, as the page itself calls it."""

    def made(target: Target) -> httpx.Request:
        body = {"data": data, "component_id": target.functions[function], "fn_name": function, "session_hash": "attack"}
        url = f"{target.address}/gradio_api/component_server"
        return httpx.Request("POST", url, json=body, headers=_headers(headers))

    return made


def upload(name: str, size: int = 10, **headers: str) -> Callable[[Target], httpx.Request]:
    return lambda target: httpx.Request(
        "POST", f"{target.address}/gradio_api/upload", files={"files": (name, bytes(size))}, headers=_headers(headers)
    )


def _headers(named: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in named.items()}


def beside(target: Target) -> str:
    return str(target.runs.parent / "secret.txt")


CURVES = {"run": RUN, "board": "live", "since": {"rewards": -1}, "smoothing": 0, "axis": "step"}

ANONYMOUS = (
    Attack("settings of the page", get("/config"), (401,)),
    Attack("list of endpoints", get("/gradio_api/info"), (401,)),
    Attack("description of the API", get("/gradio_api/openapi.json"), (404,)),
    Attack("status of a run", post("/second-opinion/status", {"run": RUN, "listed": ""}), (401,)),
    Attack("curves of a run", post("/second-opinion/points", CURVES), (401,)),
    Attack("a curve as a file", post("/second-opinion/table", {"run": RUN, "board": "live", "plot": "loss"}), (401,)),
    Attack("newest games of a run", post("/second-opinion/latest", {"run": RUN}), (401,)),
    Attack("stop a run", call("stop", {"run": RUN, "when": "now"}), (401,)),
    Attack("resume a run", call("resume", {"run": RUN}), (401,)),
    Attack("start a run, by call", post("/gradio_api/call/start", {"data": []}), (401,)),
    Attack("start a run, by run", post("/gradio_api/run/predict", {"data": [], "fn_index": 0}), (401,)),
    Attack("any event, by the queue", post("/gradio_api/queue/join", {"fn_index": 0, "session_hash": "x"}), (401,)),
    Attack("answers of others' events", get("/gradio_api/queue/data?session_hash=x"), (401,)),
    Attack("a game's record", call("record", {"run": RUN, "game": "g-1"}), (401,)),
    Attack("an export", lambda target: get(f"/gradio_api/file={target.runs / RUN / 'exports' / RUN}.zip")(target), (401,)),
    Attack("the index", lambda target: get(f"/gradio_api/file={target.runs / 'runs.db'}")(target), (401,)),
    Attack("upload of a file", upload("x.sh"), (401,)),
    Attack("cancel others' events", post("/gradio_api/cancel", {"session_hash": "x", "event_id": "x"}), (401,)),
    Attack("reset others' state", post("/gradio_api/reset", {"event_id": "x"}), (401,)),
    Attack("others' heartbeat", get("/gradio_api/heartbeat/x"), (401,)),
    Attack("the user's token", get("/gradio_api/token"), (401,)),
    Attack("a cookie that was made up", get("/config", cookie="access-token-unsecure-x=abc; access-token-x="), (401,)),
    Attack("a cookie that is none", get("/config", cookie="\x22;;=;\x01"), (401, 400)),
    Attack("the path in other letters", get("/Config"), (401, 404)),
    Attack("the path with dots", get("/assets/..%2f..%2fconfig"), (401, 403, 404)),
    Attack("the path with two slashes", get("//config"), (401, 404)),
    Attack("a wrong password", lambda target: httpx.Request(
        "POST", f"{target.address}/login", data={"username": USER, "password": "wrong"}), (400,)),
    Attack("an empty password", lambda target: httpx.Request(
        "POST", f"{target.address}/login", data={"username": USER, "password": ""}), (400, 422)),
)  # fmt: skip

OTHER_SITES = (
    Attack("rebound name in Host", get("/", host="attacker.example"), (400,)),
    Attack("rebound name with our port", call("stop", {"run": RUN, "when": "now"}, host="attacker.example:7860"), (400,)),
    Attack("Host with a trick", get("/", host="127.0.0.1@attacker.example"), (400,)),
    Attack("Host that is empty", get("/", host=""), (400,)),
    Attack("stop, from another site", call("stop", {"run": RUN, "when": "now"}, origin=EVIL), (403,)),
    Attack("stop, from a sandboxed frame", call("stop", {"run": RUN, "when": "now"}, origin="null"), (403,)),
    Attack("stop, from another port here", call("stop", {"run": RUN, "when": "now"}, origin="http://127.0.0.1:1"), (403,)),
    Attack("start, by a form of another site", post("/gradio_api/queue/join", origin=EVIL, sec_fetch_site=CROSS), (403,)),
    Attack("the same, without Origin", post("/gradio_api/queue/join", sec_fetch_site=CROSS), (403,)),
    Attack("status, read by another site", post("/second-opinion/status", {"run": RUN, "listed": ""}, origin=EVIL), (403,)),
    Attack("curves, read by another site", post("/second-opinion/points", CURVES, sec_fetch_site=CROSS), (403,)),
    Attack("newest games, read by another site", post("/second-opinion/latest", {"run": RUN}, origin="null"), (403,)),
    Attack("settings, read by another site", get("/config", sec_fetch_site=CROSS, sec_fetch_mode="no-cors"), (403,)),
    Attack("upload from another site", upload("x", origin=EVIL), (403,)),
    Attack("login from another site", lambda target: httpx.Request(
        "POST", f"{target.address}/login", data={"username": "a", "password": "b"}, headers={"origin": EVIL}), (403,)),
)  # fmt: skip

NO_RUN = '"status":null'
PATHS = (
    Attack("a file of the system", get("/gradio_api/file=/etc/passwd"), (403, 404)),
    Attack("a file beside the runs", lambda target: get(f"/gradio_api/file={beside(target)}")(target), (403, 404)),
    Attack("the same, with dots", lambda target: get(f"/gradio_api/file={target.runs}/../secret.txt")(target), (403, 404)),
    Attack("the same, with coded dots",
           lambda target: get(f"/gradio_api/file={target.runs}/%2e%2e%2fsecret.txt")(target), (403, 404)),
    Attack("the same, coded twice",
           lambda target: get(f"/gradio_api/file={target.runs}/%252e%252e%252fsecret.txt")(target), (403, 404)),
    Attack("the same, through a link in a run",
           lambda target: get(f"/gradio_api/file={target.runs}/{RUN}/link")(target), (403, 404)),
    Attack("a file of a run that was not exported",
           lambda target: get(f"/gradio_api/file={target.runs}/{RUN}/config.json")(target), (403, 404)),
    Attack("the index", lambda target: get(f"/gradio_api/file={target.runs}/runs.db")(target), (403, 404)),
    Attack("our own source", get(f"/gradio_api/file={PROJECT}/app/__main__.py"), (403, 404)),
    Attack("our own source, by a relative path", get("/gradio_api/file=app/__main__.py"), (403, 404)),
    Attack("the environment", get("/gradio_api/file=/proc/self/environ"), (403, 404)),
    Attack("a zero byte in the path", get("/gradio_api/file=/etc/passwd%00.png"), (400, 403, 404)),
    Attack("dots in the assets", get("/assets/..%2f..%2f..%2f..%2f..%2fetc/passwd"), (403, 404)),
    Attack("dots in the static files", get("/static/..%2f..%2f..%2f..%2f..%2fetc/passwd"), (403, 404)),
    Attack("have an inner address fetched", get("/gradio_api/file=http://127.0.0.1:9/"), (404,)),
    Attack("the same, through the proxy", get("/gradio_api/proxy=http://169.254.169.254/latest/meta-data"), (404,)),
    Attack("status of a run outside", post("/second-opinion/status", {"run": "../secret", "listed": ""}), (), NO_RUN),
    Attack("status of a run with a zero byte",
           post("/second-opinion/status", {"run": RUN + "\0", "listed": ""}), (), NO_RUN),
    Attack("status of what is no name", post("/second-opinion/status", {"run": ["../secret"], "listed": ""}), (422,)),
    Attack("newest games of a run outside", post("/second-opinion/latest", {"run": "../secret"}), (), '{"html":""}'),
    Attack("stop a run outside", call("stop", {"run": "../../etc", "when": "now"}), (), "no run"),
    Attack("a wish that there is not", call("stop", {"run": RUN, "when": "rm -rf /"}), (500,), "refused"),
    Attack("a game of a run outside", call("record", {"run": "../secret", "game": "x"}), (500,)),
    Attack("a game that is a path", call("record", {"run": RUN, "game": "../../../secret.txt"}), (500,)),
    Attack("a function that is none of the page", lambda target: httpx.Request(
        "POST", f"{target.address}/gradio_api/component_server",
        json={"data": {}, "component_id": target.functions["stop"], "fn_name": "__init__", "session_hash": "x"}), (404,)),
    Attack("an upload of 64 MB", upload("big", 64 * 2**20), (413,)),
    Attack("an upload without a length", lambda target: httpx.Request(
        "POST", f"{target.address}/gradio_api/upload", content=iter([b"x"])), (411,)),
    Attack("a body that is no JSON", lambda target: httpx.Request(
        "POST", f"{target.address}/gradio_api/component_server", content=b"\xff{",
        headers={"content-type": "application/json"}), (400, 422, 500)),
)  # fmt: skip


def attack(target: Target, attacks: tuple[Attack, ...]) -> Iterator[Outcome]:
    for one in attacks:
        try:
            with httpx.Client(timeout=120.0, follow_redirects=False) as client:
                answer = client.send(one.make(target))
        except httpx.TransportError as error:  # it hangs up on a body that it does not want
            yield Outcome(one.name, f"hung up ({type(error).__name__})", 413 in one.refused)
            continue
        harmless = bool(one.harmless) and answer.status_code == 200 and one.harmless in answer.text
        said = f"{answer.status_code}" + (f", {one.harmless}" if harmless else "")
        yield Outcome(one.name, said, MARK not in answer.text and (answer.status_code in one.refused or harmless))


def guess(target: Target, tries: int = 15) -> Outcome:
    """Password after password."""
    with httpx.Client(timeout=120.0) as client:
        got = [
            client.post(f"{target.address}/login", data={"username": USER, "password": str(number)}).status_code
            for number in range(tries)
        ]
    return Outcome(
        "password after password", f"400, and 429 from try {got.index(429) + 1}" if 429 in got else "400", 429 in got
    )


def make_runs(folder: Path) -> Path:
    """A folder of runs, and a file beside it that is no business of theirs."""
    (folder / "secret.txt").write_text(MARK, encoding="utf-8")
    runs = folder / "runs"
    run = runs / RUN
    (run / "exports").mkdir(parents=True)
    (run / "exports" / f"{RUN}.zip").write_text(MARK, encoding="utf-8")
    (run / "config.json").write_text(f'{{"policy": "{MARK}"}}', encoding="utf-8")
    (run / "link").symlink_to(folder / "secret.txt")
    return runs


@contextmanager
def dashboard(runs: Path, *arguments: str, **variables: str) -> Iterator[str]:
    """A dashboard's address, without a slash at its end."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    env = os.environ | {"SECOND_OPINION_RUNS": str(runs)} | variables
    argv = [sys.executable, "-m", "app", "--port", str(port), *arguments]
    with subprocess.Popen(
        argv, cwd=PROJECT, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        try:
            yield _ready(f"http://127.0.0.1:{port}", child)
        finally:
            child.terminate()


def _ready(address: str, child: subprocess.Popen) -> str:
    deadline = time.monotonic() + 240.0
    while time.monotonic() < deadline and child.poll() is None:
        try:
            httpx.get(address, timeout=5.0)
            return address
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"no dashboard at {address}")


def functions(client: httpx.Client, address: str) -> dict[str, int]:
    """The page's server functions, as its settings name them."""
    components = client.get(f"{address}/config").json()["components"]
    found = [(name, one["id"]) for one in components for name in one["props"].get("server_fns") or ()]
    assert len(dict(found)) == len(found), "an attack on a function must reach that function"
    return dict(found)


def signed_in(address: str) -> httpx.Client:
    client = httpx.Client(timeout=120.0)
    client.post(f"{address}/login", data={"username": USER, "password": PASSWORD}).raise_for_status()
    return client


def all_outcomes(folder: Path) -> dict[str, list[Outcome]]:
    runs = make_runs(folder)
    with dashboard(runs) as address, httpx.Client() as client:
        free = Target(address, runs, functions(client, address))
        found = {
            "from another site's page, no login": [*attack(free, OTHER_SITES)],
            "for what is no business of the page, no login": [*attack(free, PATHS)],
        }
    with dashboard(runs, "--user", USER, SECOND_OPINION_PASSWORD=PASSWORD) as address:
        with closing(signed_in(address)) as client:
            locked = Target(address, runs, functions(client, address))
        found["by somebody who has not logged in"] = [*attack(locked, ANONYMOUS), guess(locked)]
    return found


def table(found: dict[str, list[Outcome]]) -> str:
    rows = ["| attack | got | held |", "| --- | --- | --- |"]
    for kind, outcomes in found.items():
        rows.append(f"| **{kind}** | | |")
        rows += [f"| {one.attack} | {one.got} | {'yes' if one.held else 'NO'} |" for one in outcomes]
    return "\n".join(rows)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        outcomes = all_outcomes(Path(place))
    print(table(outcomes))
    sys.exit(not all(one.held for kind in outcomes.values() for one in kind))
