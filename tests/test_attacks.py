"""Attacks over plain HTTP on dashboards that really run (`bench/attacks.py`), and every route that there is."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app import credentials
from app.credentials import Login, NoLogin
from app.guard import Asked, known_host, refused
from bench import attacks

PROJECT = Path(__file__).parent.parent
NAMES = frozenset({"localhost"})


def test_every_attack_is_held_off(tmp_path):
    found = attacks.all_outcomes(tmp_path)
    assert [(kind, one) for kind, outcomes in found.items() for one in outcomes if not one.held] == []
    assert sum(map(len, found.values())) >= 60


EVERY_ROUTE = """
import asyncio, json, re, sys
from pathlib import Path
import httpx
from gradio.routes import App
from app import ui
from app.__main__ import parser, served
from app.credentials import Login
from launcher.runs import Runs
from launcher.store import Store

def every(routes):
    for route in routes:
        if hasattr(route, "original_router"):
            yield from every(route.original_router.routes)
        else:
            yield route

async def answers(app):
    asked = [(method, re.sub(r"\\{[^}]*\\}", "1", route.path)) for route in every(app.routes)
             for method in sorted(route.methods)]
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return [(method, path, (await client.request(method, path)).status_code) for method, path in asked]

folder = Path(sys.argv[1])
runs, store, login = Runs(folder), Store(folder / "runs.db"), Login("me", "secret")
page = ui.build(runs, store)
page.auth, page.auth_message = login.admits, None
beside = served(runs, store, parser().parse_args([]), login)
print(json.dumps(asyncio.run(answers(App.create_app(page, app_kwargs=beside)))))
"""
"""In a process of its own: Gradio leaves event loops behind."""


def test_no_route_answers_somebody_who_has_not_logged_in(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", EVERY_ROUTE, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [tuple(one) for one in json.loads(done.stdout.splitlines()[-1])]
    assert len(found) > 60
    own = {path.rpartition("/")[2] for _, path, _ in found if path.startswith("/second-opinion/")}
    assert own == {"points", "table", "status", "latest", "1"}
    telling = [one for one in found if one[2] not in (401, 404)]
    assert {path.rstrip("/") for _, path, _ in telling} <= {
        "", "/login", "/logout", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json", "/assets/1", "/static/1",
        "/svelte/1", "/gradio_api/login_check", "/gradio_api/theme.css", "/gradio_api/app_id", "/gradio_api/startup-events",
    }  # fmt: skip


@pytest.mark.parametrize(("host", "known"), [
    ("localhost", True), ("LOCALHOST:7860", True), ("localhost.:7860", True), ("127.0.0.1:7860", True), ("[::1]:7860", True),
    ("192.168.1.5", True), ("attacker.example", False), ("localhost.attacker.example", False), ("", False),
    ("localhost@attacker.example", False), ("localhost:7860:7860", False), ("[::1", False), ("loc\u0430lhost", False),
    ("localhost\n", False), ("127.0.0.1.attacker.example", False),
])  # fmt: skip
def test_hosts(host, known):
    assert known_host(host, NAMES) is known


@pytest.mark.parametrize(("asked", "status"), [
    (Asked("GET", "/", "localhost"), None),
    (Asked("POST", "/gradio_api/queue/join", "localhost:7860", origin="http://localhost:7860"), None),
    (Asked("POST", "/gradio_api/queue/join", "localhost:7860", origin="http://localhost:7860", site="same-origin"), None),
    (Asked("POST", "/gradio_api/queue/join", "localhost:7860"), None),
    (Asked("GET", "/?run=1", "localhost", site="cross-site", navigates=True), None),
    (Asked("POST", "/login", "localhost", site="cross-site", navigates=True), 403),
    (Asked("POST", "/x", "localhost", site="same-site"), 403),
    (Asked("POST", "/x", "localhost:7860", origin="http://localhost:7861"), 403),
    (Asked("POST", "/x", "localhost", origin="null"), 403),
    (Asked("POST", "/x", "localhost", origin=""), 403),
    (Asked("POST", "/x", "localhost:7860", origin="http://localhost:]860"), 403),
    (Asked("POST", "/x", "localhost:7860", origin="http://local\thost:7860"), 403),
    (Asked("POST", "/x", "localhost", length="1e9"), 400),
    (Asked("POST", "/x", "localhost", length="\u0661"), 400),
    (Asked("POST", "/x", "localhost", length=str(2**40)), 413),
    (Asked("GET", "/GRADIO_API/proxy=x", "localhost"), 404),
])  # fmt: skip
def test_requests(asked, status):
    found = refused(asked, NAMES, login=False)
    assert (found.status if found else None) == status


def test_a_password_leaves_the_environment():
    env = {credentials.USER: "me", credentials.PASSWORD: "secret"}
    assert credentials.found(None, None, env) == Login("me", "secret") and env == {credentials.USER: "me"}
    with pytest.raises(NoLogin, match=credentials.PASSWORD):
        credentials.found("me", None, {})
    assert credentials.found(None, None, {}) is None


def test_a_file_with_a_login_is_its_owners_alone(tmp_path):
    file = tmp_path / "login"
    file.write_text("me:pass:word\n", encoding="utf-8")
    file.chmod(0o600)
    assert credentials.found(None, file, {}) == Login("me", "pass:word")
    for mode in (0o640, 0o604, 0o620):
        file.chmod(mode)
        with pytest.raises(NoLogin, match="chmod 600"):
            credentials.read(file)
    file.chmod(0o600)
    for text in (b"", b"me", b"me:", b":word", b"a:b\nc:d", b"\xff:\xfe"):
        file.write_bytes(text)
        with pytest.raises(NoLogin, match=str(file)):
            credentials.read(file)
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    with pytest.raises(NoLogin, match="cannot be read"):
        credentials.read(tmp_path / "nothing")


def test_a_login_admits_nobody_else():
    login = Login("me", "s\u00e4cret")
    assert login.admits("me", "s\u00e4cret")
    assert not any(login.admits(*wrong) for wrong in (("me", "sacret"), ("you", "s\u00e4cret"), ("", ""), ("me", "")))
