"""`python -m app`: serves the dashboard until it is interrupted. Runs go on without it."""

import argparse
import ipaddress
import os
import sys
import threading
from functools import partial
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.middleware.trustedhost import TrustedHostMiddleware  # noqa: E402

from app import opening, ui  # noqa: E402
from app.points import Points  # noqa: E402
from app.theme import theme  # noqa: E402
from launcher.runs import Runs  # noqa: E402
from launcher.store import Store  # noqa: E402

PASSWORD = "SECOND_OPINION_PASSWORD"
STATIC = Path(__file__).parent / "static"


def main() -> None:
    options = parser().parse_args()
    if problem := refusal(options.host, options.user, os.environ.get(PASSWORD)):
        sys.exit(problem)
    runs = Runs.here()
    store = Store(runs.store_path)
    threading.Thread(target=runs.refresh, args=(store,), daemon=True).start()
    launch(ui.build(runs, store), served(runs, store, options), options)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m app", description="The dashboard of Second Opinion.")
    found.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; any but this machine's own needs a login"
    )
    found.add_argument("--port", type=int, default=7860)
    found.add_argument("--user", help=f"asks for a login; its password is taken from the variable {PASSWORD}")
    return found


def refusal(host: str, user: str | None, password: str | None) -> str | None:
    """Why the dashboard does not start with these, in one sentence; None if it does."""
    if user and not password:
        return f"--user needs a password: set the environment variable {PASSWORD}"
    if not user and not is_loopback(host):
        return (
            f"{host} can be reached from other machines, and whoever reaches this page can start and stop jobs: "
            f"give --user NAME and set the environment variable {PASSWORD}, or stay with 127.0.0.1"
        )
    return None


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def served(runs: Runs, store: Store, options: argparse.Namespace) -> dict[str, list]:
    """What is served beside Gradio's own page, and who is listened to."""
    hosts = ["localhost", "127.0.0.1", "[::1]", options.host] if is_loopback(options.host) else ["*"]
    first = partial(ui.first_screen_of, runs, store)
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(opening.Opening, first=first)]
    return {"middleware": middleware, "routes": [*opening.routes(), *Points(runs, store).routes()]}


def launch(page: gr.Blocks, beside: dict[str, list], options: argparse.Namespace) -> None:
    page.launch(
        server_name=options.host, server_port=options.port, prevent_thread_lock=True, quiet=True,
        auth=(options.user, os.environ[PASSWORD]) if options.user else None,
        share=False, run_history=False, enable_monitoring=False, strict_cors=True, ssr_mode=False, pwa=False,
        mcp_server=False, show_error=True, footer_links=[], allowed_paths=[],
        app_kwargs=beside, theme=theme(), css_paths=[STATIC / "style.css"],
    )  # fmt: skip
    print(f"Second Opinion: {page.local_url}", flush=True)
    page.block_thread()


if __name__ == "__main__":
    main()
