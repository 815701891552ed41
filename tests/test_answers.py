"""The endpoints that every open page asks, and how pages share what they answer."""

import asyncio
import json
import threading

import pytest
from pydantic import BaseModel, ConfigDict
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_app import ID, add_step, here, make, store  # noqa: F401
from test_store import game

from app import latest, status
from app.answers import Answers
from launcher import rundir, state


class Wish(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str


@pytest.fixture
def client(here, store):  # noqa: F811
    app = Starlette(routes=[*status.routes(here, store), *latest.routes(store)])
    app.auth = None
    with TestClient(app) as client:
        yield client


def bar(client, listed=""):
    return client.post("/second-opinion/status", json={"run": ID, "listed": listed}).json()


def test_what_many_wish_at_one_moment_is_worked_out_once():
    worked, go_on = [], threading.Event()

    def work(asked):
        worked.append(asked.name)
        assert go_on.wait(10)
        return {"name": asked.name, "turn": len(worked)}

    async def ask():
        answers = Answers(work)
        asked = [asyncio.create_task(answers(1, Wish(name="a"))) for _ in range(20)]
        await asyncio.sleep(0)
        asked.pop().cancel()  # a page that is closed takes nothing from the others
        go_on.set()
        found = [json.loads(one.body) for one in [*await asyncio.gather(*asked), await answers(1, Wish(name="a"))]]
        later, other = await answers(2, Wish(name="a")), await answers(2, Wish(name="b"))
        return found, json.loads(later.body)["turn"], json.loads(other.body)["name"]

    assert asyncio.run(ask()) == ([{"name": "a", "turn": 1}] * 20, 2, "b")
    assert worked == ["a", "a", "b"]


def test_an_answer_that_failed_is_worked_out_anew():
    tries = []

    def work(asked):
        tries.append(asked)
        if len(tries) == 1:
            raise OSError("the index is locked")
        return {}

    async def ask():
        answers = Answers(work)
        with pytest.raises(OSError, match="locked"):
            await answers(1, Wish(name="a"))
        return (await answers(1, Wish(name="a"))).body

    assert asyncio.run(ask()) == b"{}"


def test_the_bar_tells_of_a_stop_and_of_an_end_at_once(here, store, client):  # noqa: F811
    run = make(here)
    add_step(run, store, 3)
    first = bar(client)
    assert (first["status"]["state"], first["status"]["step"], first["status"]["stop_wish"]) == ("generating", 3, None)
    rundir.write_json(run.stop, {"when": "now", "asked": 1.0, "checkpoint": 0})
    assert bar(client)["status"]["stop_wish"] == "now"
    state.change(run, state.read(run), state="stopped", phase="stopped", ended=9.0)
    assert bar(client)["status"]["state"] == "stopped"
    assert "runs" in first and "runs" not in bar(client, bar(client)["key"])


def test_the_newest_games_are_told_as_soon_as_the_index_has_them(here, store, client):  # noqa: F811
    run = make(here)
    for step in (1, 2):
        add_step(run, store, step, [game(f"g-{step}", step)])
        assert f">g-{step}<" in client.post("/second-opinion/latest", json={"run": ID}).json()["html"].replace(
            "<bdi>", ">"
        )


def test_whoever_has_not_logged_in_is_told_nothing(here, client):  # noqa: F811
    make(here)
    client.app.auth, client.app.cookie_id, client.app.tokens = [("me", "secret")], "c", {"token": "me"}
    asked = {"status": {"run": ID, "listed": ""}, "latest": {"run": ID}}
    for cookie, told in ((None, 401), ("forged", 401), ("token", 200)):
        client.cookies = {"access-token-c": cookie} if cookie else {}
        for name, wish in asked.items():
            assert client.post(f"/second-opinion/{name}", json=wish).status_code == told


@pytest.mark.parametrize("wish", [{}, {"run": None}, {"run": ["x"]}, {"run": ID, "more": 1}, "x", [1]])
def test_what_does_not_fit_is_refused_as_json(client, wish):
    for name in ("status", "latest"):
        answer = client.post(f"/second-opinion/{name}", json=wish)
        assert answer.status_code == 422 and answer.json()["refused"]
