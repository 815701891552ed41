import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from launcher import alerts, webhook
from launcher.config import resolve
from launcher.health import Finding, Kind, Place
from launcher.health_watch import Watch
from launcher.rundir import RunDir
from launcher.store import Store
from launcher.webhook import Post, Webhook

FINDING = Finding(Kind.KL, 7, "vllm_kl is 0.5", Place("live", (("plot", "kl"),)))


@contextmanager
def receiver(*codes: int, location: str = ""):
    """A server that answers with these codes in turn, the last one for ever. Yields its address and what it got."""
    got = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((dict(self.headers), body))
            self.send_response(codes[min(len(got), len(codes)) - 1])
            if location:
                self.send_header("location", location)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", got
    finally:
        server.shutdown()
        server.server_close()


def sent(url: str, secret: str = "") -> tuple[str | None, list[float]]:
    pauses = []
    why = webhook.send(Webhook(webhook.address(url), secret), Post("r/kl-1", {"text": "ä <b>"}), pauses.append)
    return why, pauses


def test_a_post_holds_the_alert_and_is_signed():
    with receiver(204) as (url, got):
        assert sent(url, "key") == (None, [])
    headers, body = got[0]
    assert json.loads(body) == {"text": "ä <b>"} and headers["x-second-opinion-delivery"] == "r/kl-1"
    assert headers["x-second-opinion-signature"] == f"sha256={webhook.signature('key', body)}"


def test_a_server_in_trouble_is_asked_three_times_and_then_no_more():
    with receiver(500, 503, 200) as (url, got):
        assert sent(url) == (None, [1.0, 5.0])
    with receiver(500) as (url, got):
        assert sent(url) == ("it answered 500", [1.0, 5.0])
        assert len(got) == 3
    assert sent("http://127.0.0.1:9/")[0] == "ConnectError"


@pytest.mark.parametrize("code", [301, 302, 307, 308])
@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://127.0.0.1:9/other"])
def test_a_redirect_is_not_followed(code, location):
    with receiver(code, location=location) as (url, got):
        why, pauses = sent(url)
        assert why == f"it answered {code}, and redirects are not followed" and not pauses and len(got) == 1


def test_a_refusal_is_not_repeated():
    with receiver(404) as (url, got):
        assert sent(url) == ("it answered 404", []) and len(got) == 1


@pytest.mark.parametrize("text", [
    "file:///etc/passwd", "ftp://host/x", "//host/x", "host/x", "http://", "http:///x", "javascript:alert(1)", "http://a b/",
    "http://user:word@host/", "http://host/#part", "http://host:99999/", "http://[::1/", "http://host/\n", "x" * 3000,
])  # fmt: skip
def test_an_address_that_is_none_is_refused_without_repeating_it(text):
    with pytest.raises(webhook.WrongAddress) as refused:
        webhook.address(text)
    assert (
        webhook.ADDRESS in str(refused.value)
        and "passwd" not in str(refused.value)
        and "word@" not in str(refused.value)
    )


def test_without_an_address_nothing_is_posted():
    assert webhook.from_environment({}) is None
    assert webhook.from_environment({webhook.ADDRESS: " "}) is None


@pytest.fixture
def run(tmp_path):
    found = RunDir(tmp_path / "20260102-030405-abcd")
    found.path.mkdir()
    return found


def watched(run, tmp_path, *told):
    with Store(tmp_path / "runs.db") as store:
        watch = Watch(run, resolve("cpu-demo"), store)
        watch.begin()
        for findings in told:
            watch._tell(findings, 7)
        watch.wait()


def test_an_alert_is_posted_once_even_by_two_supervisors(run, tmp_path, monkeypatch):
    with receiver(200) as (url, got):
        monkeypatch.setenv(webhook.ADDRESS, url)
        monkeypatch.setenv(webhook.SECRET, "not to be told")
        watched(run, tmp_path, (FINDING,), (FINDING,))
        watched(run, tmp_path, (FINDING,))
    assert len(got) == 1
    body = json.loads(got[0][1])
    assert (body["alert"], body["step"], body["link"]) == ("KL jump", 7, f"/?run={run.id}&tab=live&plot=kl")
    told = run.events.read_text()
    assert "posted to 127.0.0.1" in told and "/hook" not in told and "not to be told" not in told


def test_an_alert_that_its_supervisor_could_not_post_is_posted_by_the_next_one(run, tmp_path, monkeypatch):
    watched(run, tmp_path, (FINDING,))
    with receiver(200) as (url, got):
        monkeypatch.setenv(webhook.ADDRESS, url)
        watched(run, tmp_path)
    assert len(got) == 1 and alerts.not_posted(run, alerts.still_open(alerts.lines(run))) == []


def test_an_address_that_is_none_is_told_in_the_runs_events(run, tmp_path, monkeypatch):
    monkeypatch.setenv(webhook.ADDRESS, "file:///etc/passwd")
    watched(run, tmp_path, (FINDING,))
    assert "alerts are not posted" in run.events.read_text() and "passwd" not in run.events.read_text()
