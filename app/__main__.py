"""`python -m app`: serves the dashboard until it is interrupted. Runs go on without it."""

import argparse
import errno
import ipaddress
import os
import socket
import sqlite3
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402

from app import credentials, latest, opening, status, ui  # noqa: E402
from app.credentials import Login, NoLogin  # noqa: E402
from app.guard import Guard  # noqa: E402
from app.points import Points  # noqa: E402
from app.theme import theme  # noqa: E402
from launcher import webhook  # noqa: E402
from launcher.runs import Runs  # noqa: E402
from launcher.store import NoIndex, Store  # noqa: E402

QUEUE_EVERY = 2.0
"""Seconds between two looks at the queue."""
EVENTS_EVERY = 0.02
"""Seconds between two looks of Gradio at its queue of events. Its own thousand looks a second take some percent of a core,
with nobody there too."""
TROUBLE = (OSError, sqlite3.Error)
"""What keeps the queue waiting and may pass: a disk that is full, an index that is locked or damaged."""
STATIC = Path(__file__).parent / "static"


def main() -> None:
    options = parser().parse_args()
    try:
        login = credentials.found(options.user, options.login_file, os.environ)
        webhook.from_environment(os.environ)
    except (NoLogin, webhook.WrongAddress) as error:
        sys.exit(str(error))
    if problem := refusal(options.host, login) or port_problem(options.host, options.port):
        sys.exit(problem)
    runs = Runs.here()
    try:
        store = Store(runs.store_path)
    except NoIndex as error:
        sys.exit(str(error))
    threading.Thread(target=attend, args=(runs, store), daemon=True).start()
    launch(ui.build(runs, store), served(runs, store, options, login), options, login)


def attend(runs: Runs, store: Store) -> None:
    """Makes the index true, anew if it is damaged, and from then on sees to the queue: whoever was to start the next run may
    have been killed."""
    with suppress(*TROUBLE):
        if problem := store.damage():
            print(f"the index is damaged ({problem}) and is made again; the old one is {store.set_aside()}", flush=True)
        runs.refresh(store)
    while True:
        time.sleep(QUEUE_EVERY)
        with suppress(*TROUBLE):
            runs.advance()


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m app", description="The dashboard of Second Opinion.")
    found.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; any but this machine's own needs a login"
    )
    found.add_argument("--port", type=int, default=7860)
    found.add_argument("--user", help=f"asks for a login; its password is taken from {credentials.PASSWORD}")
    found.add_argument(
        "--login-file",
        type=Path,
        metavar="FILE",
        help="asks for a login; the file holds NAME:PASSWORD and is yours alone",
    )
    found.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="another name that this machine is reached by"
    )
    return found


def refusal(host: str, login: Login | None) -> str | None:
    """Why the dashboard does not start with these, in one sentence; None if it does."""
    if login or is_loopback(host):
        return None
    return (
        f"{host} can be reached from other machines, and whoever reaches this page can start and stop jobs: give "
        f"--user NAME and set the environment variable {credentials.PASSWORD}, or --login-file FILE, or stay with 127.0.0.1"
    )


def port_problem(host: str, port: int) -> str | None:
    """Why nobody can listen there, in one sentence; None if it can be done."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        return f"port {port} is taken: --port {port + 1}, or another" if taken else f"{host}:{port}: {error.strerror}"
    return None


def names(host: str, more: list[str]) -> frozenset[str]:
    """What this machine may be called in a request; its addresses always may."""
    own = {"localhost"} if is_loopback(host) else {"localhost", host, socket.gethostname(), socket.getfqdn()}
    return frozenset(name.lower().rstrip(".") for name in (*own, *more))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def served(runs: Runs, store: Store, options: argparse.Namespace, login: Login | None) -> dict[str, list]:
    """What is served beside Gradio's own page, and who is listened to."""
    guard = Middleware(Guard, names=names(options.host, options.allow_host), login=login is not None)
    first = Middleware(opening.Opening, first=partial(ui.first_screen_of, runs, store))
    asked = [*Points(runs, store).routes(), *status.routes(runs, store), *latest.routes(store)]
    return {"middleware": [guard, first], "routes": [*opening.routes(), *asked]}


def launch(page: gr.Blocks, beside: dict[str, list], options: argparse.Namespace, login: Login | None) -> None:
    page._queue.sleep_when_free = EVENTS_EVERY
    page.launch(
        server_name=options.host, server_port=options.port, prevent_thread_lock=True, quiet=True,
        auth=login.admits if login else None,
        share=False, run_history=False, enable_monitoring=False, strict_cors=True, ssr_mode=False, pwa=False,
        mcp_server=False, show_error=True, footer_links=[], allowed_paths=[],
        app_kwargs=beside, theme=theme(), css_paths=[STATIC / "style.css"],
    )  # fmt: skip
    print(f"Second Opinion: {page.local_url}", flush=True)
    page.block_thread()


if __name__ == "__main__":
    main()
