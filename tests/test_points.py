"""The endpoints beside Gradio's, and what the page holds before Gradio mounts it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from test_app import ID, add_step, make
from test_store import game, write_games

from app import opening
from app.points import PATIENCE, Points
from launcher.ingest import ingest
from launcher.runs import Runs
from launcher.store import Store

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def here(tmp_path):
    (tmp_path / "runs").mkdir()
    return Runs(tmp_path / "runs")


@pytest.fixture
def store(here):
    with Store(here.store_path) as store:
        yield store


@pytest.fixture
def client(here, store):
    app = Starlette(routes=Points(here, store).routes())
    app.auth = None
    with TestClient(app) as client:
        yield client


def wish(**changes):
    return {"run": ID, "board": "live", "since": {"rewards": -1}, "smoothing": 0.0, "axis": "step"} | changes


def ask(client, **changes):
    return client.post("/second-opinion/points", json=wish(**changes))


def test_a_board_is_told_the_curves_that_it_asks_for(here, store, client):
    add_step(make(here), store, 1, [game("a", 1)])
    answer = ask(client).json()
    assert answer["last"] == 1 and answer["plots"]["rewards"]["raw"]["assessor"] == [2.0]
    assert set(ask(client, since={"loss": -1, "no such plot": -1}).json()["plots"]) == {"loss"}
    assert ask(client, board="judge", since={"judge-rates": -1}).json()["plots"]["judge-rates"]["x"] == [1]


def test_an_answer_waits_for_a_new_step_and_not_for_other_runs(here, store, client):
    run = make(here)
    add_step(run, store, 1, [game("a", 1)])
    first = ask(client).json()
    assert ask(client).json() == first
    other = make(here, "20261122-000000-aaaa")
    timers = [threading.Timer(0.2, add_step, (other, store, 1)), threading.Timer(0.8, add_step, (run, store, 2))]
    begun = time.monotonic()
    for timer in timers:
        timer.start()
    second = ask(client, known=first["newest"]).json()
    assert 0.8 <= time.monotonic() - begun < PATIENCE
    assert second["last"] == 2 and second["newest"] != first["newest"]


def test_many_boards_wait_for_the_same_news_and_are_told_the_same(here, store, client):
    run = make(here)
    add_step(run, store, 1, [game("a", 1)])
    known = ask(client).json()["newest"]
    with ThreadPoolExecutor() as pages:
        asked = [pages.submit(ask, client, known=known, since={"rewards": since}) for since in (-1, -1, -1, 1)]
        time.sleep(0.2)
        assert not any(one.done() for one in asked)
        add_step(run, store, 2, [game("b", 2)])
        told = [one.result(60.0).json() for one in asked]
    assert told[0] == told[1] == told[2] and all(one["last"] == 2 and one["newest"] != known for one in told)
    assert [one["plots"]["rewards"]["x"] for one in told] == [[1, 2]] * 4


def test_an_answer_holds_what_was_written_since_the_last(here, store, client):
    """Games may reach the index after their step, and are news too."""
    run = make(here)
    add_step(run, store, 1)
    first = ask(client).json()
    assert first["plots"]["rewards"]["x"] == []
    write_games(run.path, [game("a", 1) | {"run": ID}])
    ingest(store, run.path)
    second = ask(client).json()
    assert second["plots"]["rewards"]["x"] == [1] and second["newest"] != first["newest"]


@pytest.mark.parametrize("run", ["", "../" + ID, "/etc/passwd", HOSTILE, "20260101-000000-0000"])
def test_a_run_that_is_not_there_has_no_points(here, store, client, run):
    make(here)
    answer = ask(client, run=run)
    assert answer.status_code == 200 and (answer.json()["last"], answer.json()["plots"]) == (0, {})
    assert client.post("/second-opinion/table", json={"run": run, "board": "live", "plot": "loss"}).status_code == 404


@pytest.mark.parametrize("changes", [
    {"smoothing": 1.0}, {"smoothing": -0.1}, {"axis": "x"}, {"board": "x"}, {"since": {"rewards": "x"}}, {"more": 1},
    {"run": None}, {"since": [["rewards"]]},
])  # fmt: skip
def test_what_does_not_fit_is_refused_as_json(client, changes):
    answer = ask(client, **changes)
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/json"
    assert answer.json()["refused"]


def test_a_wish_that_is_no_json_or_no_number_is_refused(client):
    for body in ("", "{", '{"run": NaN}', str(wish()).replace("-1", "NaN").replace("'", '"')):
        assert client.post("/second-opinion/points", content=body).status_code == 422


def test_a_plot_is_told_whole_as_text(here, store, client):
    add_step(make(here), store, 1, [game("a", 1)], policy_loss=0.25)
    answer = client.post("/second-opinion/table", json={"run": ID, "board": "live", "plot": "loss"})
    assert answer.json() == {"text": "step,policy loss\r\n1,0.25\r\n"}


def test_whoever_has_not_logged_in_is_told_nothing(here, store, client):
    make(here)
    client.app.auth, client.app.cookie_id, client.app.tokens = [("me", "secret")], "c", {"token": "me"}
    for path in ("points", "table"):
        assert client.post(f"/second-opinion/{path}", json=wish()).status_code == 401
        client.cookies.set("access-token-c", "forged")
        assert client.post(f"/second-opinion/{path}", json=wish()).status_code == 401
    client.cookies.set("access-token-c", "token")
    assert ask(client).status_code == 200


def page(first):
    gradio = '<html><head></head><body><script type="module" src="./assets/index.js"></script></body></html>'
    app = Starlette(
        routes=[Route("/", lambda request: HTMLResponse(gradio)), *opening.routes()],
        middleware=[Middleware(opening.Opening, first=first)],
    )
    app.auth = None
    return TestClient(app)


def test_the_page_names_its_run_and_gradio_waits_for_the_curve():
    text = page(lambda request: (ID, "live")).get("/").text
    assert f'"run": "{ID}", "tab": "live"' in text and '<script type="later" src="./assets/' in text
    text = page(lambda request: (ID, "games")).get("/").text
    assert '<script type="module" src="./assets/' in text and "later" not in text.split("</head>")[1]


def test_what_an_address_names_cannot_leave_its_place():
    text = page(lambda request: (HOSTILE, HOSTILE)).get("/").text
    assert "<img" not in text and "\\u003cimg src=x" in text


def test_a_file_is_kept_by_browsers_and_sent_packed_to_those_that_can_read_it():
    client = page(lambda request: ("", "run"))
    for name, (path, kind) in opening.FILES.items():
        for accepts, encoding in (("br", "br"), ("identity", None)):
            answer = client.get("/" + opening.address(name), headers={"accept-encoding": accepts})
            assert answer.headers.get("content-encoding") == encoding and answer.content == path.read_bytes()
            assert "immutable" in answer.headers["cache-control"] and answer.headers["content-type"].startswith(kind)
    assert client.get("/second-opinion/static/x/..%2F..%2F__main__.py").status_code == 404


def test_a_page_is_for_whoever_has_logged_in():
    client = page(lambda request: (ID, "live"))
    client.app.auth, client.app.cookie_id, client.app.tokens = [("me", "secret")], "c", {}
    assert ID not in client.get("/").text
