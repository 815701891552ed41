"""A dashboard of its own for a test, and a page of it in Chromium that reaches nothing but this machine.

A test says `with dashboard(runs_folder) as address, opened(address) as page:` and has Playwright's page in its hands.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import httpx
import pytest
from conftest import free_port
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

PROJECT = Path(__file__).parent.parent.parent
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
LOCAL = re.compile(r"(?:https?|wss?)://(?:127\.0\.0\.1|localhost)[:/]|data:|blob:|about:")
START = 240.0
"""Seconds that a dashboard may take to answer."""
PATIENCE = 120_000
"""Milliseconds that whatever is waited for on a page may take: a machine may be slow, a test is only wrong or right."""


AXE = PROJECT / "node_modules" / "axe-core" / "axe.min.js"


def violations(page: Page) -> list[tuple[str, str]]:
    """What axe-core finds wrong with the page as it is: rule, and the first element that breaks it."""
    if not AXE.exists():
        pytest.skip(f"{AXE} is missing: `npm install --no-save axe-core` puts it there")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in found]


def wait_until(page: Page, true: Callable[[], bool], seconds: float = PATIENCE / 1000) -> None:
    """For what is known here and not on the page, such as the requests that were sent."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        page.wait_for_timeout(50)


@contextmanager
def dashboard(runs: Path, *arguments: str, **variables: str) -> Iterator[str]:
    """The address of `python -m app` over the runs in this folder."""
    port = free_port()
    environment = os.environ | {"SECOND_OPINION_RUNS": str(runs)} | variables
    argv = [sys.executable, "-m", "app", "--port", str(port), *arguments]
    with subprocess.Popen(argv, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield _answering(f"http://127.0.0.1:{port}/", child)
        finally:
            child.terminate()


def _answering(address: str, child: subprocess.Popen) -> str:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and child.poll() is None:
        try:
            httpx.get(address, timeout=5.0)
            return address
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"the dashboard does not answer at {address}; it printed: {child.stdout.read()}")


@contextmanager
def opened(address: str, width: int = 1280, height: int = 900, dark: bool = False, path: str = "") -> Iterator[Page]:
    """A page of the dashboard, loaded. Requests to other machines and errors in its scripts fail the test at the end."""
    with chromium().new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", accept_downloads=True
    ) as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        outside: list[str] = []
        errors: list[str] = []

        def leave(route, request: Request) -> None:
            outside.append(request.url)
            route.abort()

        page.route(lambda url: not LOCAL.match(url), leave)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address + path)
        page.get_by_role("tab").first.wait_for()
        page.wait_for_function("!document.querySelector('p.loading')")  # Gradio's own, over the page until all is there
        yield page
    assert not outside, f"the page wanted to leave this machine: {outside}"
    assert not errors, f"scripts failed on the page: {errors}"


closing = ExitStack()


@cache
def chromium() -> Browser:
    """One for all tests of a module: conftest.py closes it after the last."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is missing: Debian's package chromium has it")
    expect.set_options(timeout=PATIENCE)
    playwright = closing.enter_context(sync_playwright())
    found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    closing.callback(found.close)
    return found


def close() -> None:
    closing.close()
    chromium.cache_clear()
