"""Judges over HTTP, against real servers on loopback."""

import asyncio
import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from test_game import CLEAN, ERROR, REWORDED, FixedJudge, sample, say

from medical_team import data
from medical_team.config import GameConfig
from medical_team.judge import Question, http
from medical_team.judge.chat_reply import read_reply
from medical_team.judge.local import Completion
from medical_team.judge.model_files import JudgeError
from medical_team.judge.model_judge import Unreadable
from medical_team.judge.server import application
from medical_team.judge.settings import JudgeSettings
from medical_team.types import Category, Label

QUESTION = Question(CLEAN, ERROR, REWORDED)


def token(text: str, *others: tuple[str, float]) -> dict:
    return {"token": text, "logprob": -0.1, "top_logprobs": [{"token": one, "logprob": p} for one, p in others]}


def reply(text: str, *tokens: dict, extra: bool = True) -> dict:
    logprobs = {"content": list(tokens)} if tokens else None
    choice = {"message": {"role": "assistant", "content": text}, "logprobs": logprobs}
    return {"choices": [choice | ({"index": 0, "weird": [1]} if extra else {})], "usage": {}}


SURE = reply(
    "B N", token("B", ("B", -0.1), (" B", -4.0), ("A", -3.0), ("Yes", -5.0)), token(" N", (" N", -0.05), ("Y", -4.0))
)


@contextmanager
def scripted(*answers):
    """A server that gives its answers in turn, each a status and a body; it remembers what it was sent."""
    left, heard = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append((self.path, self.headers.get("Authorization"), body))
            status, answer = left.pop(0)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(url: str, **settings):
    judge = JudgeSettings(**{"kind": "http", "url": url, "model": "m", "escalate": False} | settings).load()

    async def once():
        verdict = await judge.judge(QUESTION)
        await judge.close()
        return verdict

    return asyncio.run(once())


def test_a_chat_server_is_asked_for_log_probabilities_and_they_decide(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    with scripted((200, SURE)) as (url, heard):
        verdict = ask(url, token_variable="MY_TOKEN")
    ((path, authorization, body),) = heard
    assert (path, authorization) == ("/v1/chat/completions", "Bearer secret")
    assert (body["model"], body["logprobs"], body["temperature"]) == ("m", True, 0)
    assert CLEAN in body["messages"][0]["content"] and ERROR not in body["messages"][0]["content"]
    assert (verdict.label, verdict.reason, verdict.realistic) == (Label.HARMFUL, "ok", False)
    assert verdict.p_harm == pytest.approx(0.948, abs=0.001)
    assert "secret" not in verdict.judge


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(status):
    with scripted((status, {}), (200, SURE)) as (url, heard):
        assert ask(url, retries=1).label is Label.HARMFUL
    assert len(heard) == 2


@contextmanager
def slow(*seconds: float):
    """A server that takes so long for its answers in turn; it remembers how many it was at, at most."""
    left, open_now = list(seconds), []
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def chat() -> dict:
        open_now.append(len(left))
        app.state.most = max(getattr(app.state, "most", 0), len(open_now))
        await asyncio.sleep(left.pop(0))
        open_now.pop()
        return SURE

    with serving(app) as url:
        yield f"{url}/v1", app.state


def test_a_server_that_is_silent_is_asked_again_while_there_is_time():
    with slow(5.0, *[0.0] * 5) as (url, _):
        verdict = ask(url, timeout_s=12.0, retries=5)
    assert (verdict.label, verdict.reason) == (Label.HARMFUL, "ok")


def test_no_more_requests_are_open_at_once_than_configured():
    settings = JudgeSettings(kind="http", model="m", concurrency=3)
    with slow(*[0.05] * 12) as (url, state):
        judge = settings.model_copy(update={"url": url}).load()

        async def many():
            verdicts = await asyncio.gather(*[judge.ask(QUESTION) for _ in range(12)])
            await judge.close()
            return [verdict.label for verdict in verdicts]

        assert asyncio.run(many()) == [Label.HARMFUL] * 12
    assert state.most == 3


def test_pauses_grow_to_a_bound_and_differ():
    pauses = [[http.pause(attempt) for _ in range(200)] for attempt in range(12)]
    assert all(max(one) < min(later) for one, later in zip(pauses[:4], pauses[2:6], strict=True))
    assert max(map(max, pauses)) <= http.LONGEST_PAUSE * 1.5 and all(len(set(one)) > 100 for one in pauses)


def test_a_refusal_is_not_tried_again():
    with scripted((401, {"error": "who are you"})) as (url, heard):
        verdict = ask(url, retries=3)
    assert len(heard) == 1
    assert (verdict.label, verdict.reason) == (None, "failed") and "401" in verdict.rationale


def test_a_server_that_is_gone_makes_a_tie():
    with scripted() as (url, _):
        pass
    verdict = ask(url, retries=0)
    assert (verdict.label, verdict.reason) == (None, "failed") and "cannot be reached" in verdict.rationale


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b'{"choices": []}', b"[1]", b'{"choices": [{"text": "B N"}]}', b"\xff"]
)
def test_what_is_no_reply_of_a_chat_server_is_unreadable(body):
    with pytest.raises(Unreadable):
        read_reply(body, "logit")
    with scripted((200, body)) as (url, _):
        assert (verdict := ask(url)).label is None and verdict.reason == "unreadable"


def test_without_log_probabilities_the_letters_count_and_nothing_else():
    assert read_reply(json.dumps(reply("B N")).encode(), "logit").letters.realistic is False
    assert read_reply(json.dumps(reply("The note is safe")).encode(), "logit").letters is None
    assert read_reply(json.dumps(reply("B N")).encode(), "logit").odds is None


def test_prose_that_begins_with_a_letter_is_no_verdict():
    said = token("A", ("A", -0.001)), token(" man", (" man", -0.01), (" Y", -6.0), (" N", -7.0))
    with scripted((200, reply("A man of 40", *said))) as (url, _):
        verdict = ask(url)
    assert (verdict.label, verdict.reason, verdict.raw) == (None, "unreadable", "A man of 40")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_odds_that_are_no_numbers_are_no_verdict(number):
    body = json.dumps(reply("A Y", token("A", ("A", 0.5)), token(" Y", (" Y", 0.5)))).replace("0.5", number)
    with scripted((200, body.encode())) as (url, _):
        assert (verdict := ask(url)).label is None and verdict.reason == "unreadable"


def test_the_letters_of_an_explanation_are_found_at_its_end():
    said = [token(text, (text, -0.1)) for text in ("A", " drug", ".", "\n", "Answer", ":")]
    ends = token(" B", (" B", -0.2), (" A", -2.0)), token(" Y", (" Y", -0.1)), token(".", (".", -0.1))
    answer = read_reply(json.dumps(reply("A drug.\nAnswer: B Y.", *said, *ends)).encode(), "explain")
    assert answer.rationale == "A drug." and answer.odds.harm == pytest.approx(0.858, abs=0.001)
    assert answer.odds.realistic == 1.0


def test_an_end_token_after_the_letters_is_none_of_them():
    said = [token(text, (text, -0.1)) for text in ("A", " drug", ".", "\n", "Answer", ":")]
    ends = token(" B", (" B", -0.2), (" A", -2.0)), token(" Y", (" Y", -0.1)), token("<|im_end|>", ("<|im_end|>", -0.1))
    answer = read_reply(json.dumps(reply("A drug.\nAnswer: B Y", *said, *ends)).encode(), "explain")
    assert answer.odds.harm == pytest.approx(0.858, abs=0.001) and answer.odds.realistic == 1.0


class Known(FixedJudge):
    """A judge without a model, for the server's routes."""

    async def ask(self, question):
        return replace(await self.judge(question), source="explain")


@contextmanager
def judge_server(judge, secret: str | None = None, port: int = 0, backend=None):
    app = application(judge, backend, secret, GameConfig())
    with serving(app, port) as url:
        yield url


@contextmanager
def serving(app: FastAPI, port: int = 0):
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_the_judge_server_sends_whole_verdicts(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    judge = Known(Label.HARMFUL, same_meaning=False)
    with judge_server(judge, "secret") as url:
        verdict = ask(url, kind="server", token_variable="MY_TOKEN")
        with pytest.raises(JudgeError, match="401"):
            JudgeSettings(kind="server", url=url).load()
    assert (verdict.label, verdict.judge, verdict.same_meaning) == (Label.HARMFUL, "fixed-1", False)
    assert judge.asked == [QUESTION]


def test_a_probe_is_answered_by_the_server_without_comparison_and_memory():
    with judge_server(Known(Label.HARMFUL)) as url:
        judge = JudgeSettings(kind="server", url=url).load()

        async def both():
            sources = [(await judge.judge(QUESTION)).source, (await judge.ask(QUESTION)).source]
            await judge.close()
            return sources

        assert asyncio.run(both()) == ["logit", "explain"]


def test_what_the_judge_before_said_is_forgotten_when_a_server_comes_with_another():
    served, other = Known(Label.HARMFUL), Question(CLEAN, ERROR, REWORDED + " He rests.")
    with judge_server(served) as url:
        judge = JudgeSettings(kind="server", url=url).load()

        async def before_and_after():
            said = [await judge.judge(QUESTION), await judge.judge(QUESTION)]
            served.name, served.label = "fixed-2", Label.SAFE
            said += [await judge.judge(other), await judge.judge(QUESTION), await judge.judge(QUESTION)]
            await judge.close()
            return [(one.judge, one.label, one.source) for one in said]

        first, second = ("fixed-1", Label.HARMFUL), ("fixed-2", Label.SAFE)
        assert asyncio.run(before_and_after()) == [
            (*first, "logit"), (*first, "cache"), (*second, "logit"), (*second, "logit"), (*second, "cache"),
        ]  # fmt: skip
    assert judge.name == "fixed-2"


def test_a_chat_server_that_is_not_there_is_said_before_the_run(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    with judge_server(Known(None), "secret", backend=Models()) as url:
        here = JudgeSettings(kind="http", url=f"{url}/v1", token_variable="MY_TOKEN")
        http.reachable(here)
        with pytest.raises(JudgeError, match="401"):
            http.reachable(here.model_copy(update={"token_variable": ""}))
        with pytest.raises(JudgeError, match="404.*judge.url"):
            http.reachable(here.model_copy(update={"url": url}))
    with pytest.raises(JudgeError, match="no chat server answers.*/v1"):
        http.reachable(here)


class Models:
    """A backend whose chat template refuses what does not begin with the user, and whose model says nothing."""

    name, most, wait = "scripted 1", 8, 0.2

    def __init__(self):
        self.model, self.batches = self, []

    def chat_ids(self, messages):
        if messages[0][0] != "user":
            raise ValueError("roles must alternate")
        return [1] * len(messages)

    def complete(self, rows, most_tokens, top):
        self.batches.append(len(rows))
        return [Completion("", (), ()) for _ in rows]


def test_a_chat_that_the_models_template_refuses_is_refused_alone():
    backend = Models()
    with judge_server(Known(None), backend=backend) as url:

        async def all_of_them():
            async with httpx.AsyncClient() as client:
                asked = [{"messages": [{"role": role, "content": "x"}]} for role in ("user", "assistant", "user")]
                return await asyncio.gather(*[client.post(f"{url}/v1/chat/completions", json=one) for one in asked])

        answers = asyncio.run(all_of_them())
    assert [answer.status_code for answer in answers] == [200, 422, 200] and backend.batches == [2]
    assert "roles must alternate" in answers[1].text


def test_a_judge_server_that_is_not_there_is_said_before_the_run():
    with pytest.raises(JudgeError, match="medical_team.judge.server"):
        JudgeSettings(kind="server", url="http://127.0.0.1:9").load()


@pytest.mark.parametrize(
    ("category", "note", "answer", "reward"),
    [
        (Category.VANILLA_HARMFUL, ERROR, "Harmful", 2.0),
        (Category.VANILLA_BENIGN, CLEAN, "Harmful", 0.0),
        (Category.ADVERSARIAL_BENIGN, REWORDED, "Safe", 2.0),
    ],
)
def test_openrlhfs_remote_reward_protocol(category, note, answer, reward):
    row = data.rows([replace(sample(category), note=note)], "train")[0]
    label = data.RowLabel.model_validate_json(row.label).model_copy(update={"endings": ("<end>",)}).model_dump_json()
    asked = {"query": [f"prompt{say(answer)}<end>"], "prompts": ["prompt"], "labels": [label]}
    with judge_server(Known(Label.SAFE, same_meaning=True)) as url:
        told = httpx.post(f"{url}/reward", json=asked).json()
        both = httpx.post(f"{url}/reward", json={key: value * 2 for key, value in asked.items()}).json()
        wrong = httpx.post(f"{url}/reward", json=asked | {"labels": ["{}"]})
    assert (told["rewards"], told["scores"]) == (reward, reward)
    assert both["rewards"] == [reward, reward] and both["extra_logs"]["tie"] == [0.0, 0.0]
    assert wrong.status_code == 422


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "127.0.0.1:8009"}, "web address"),
        ({"url": "http://me:word@host"}, "password"),
        ({"token_variable": "hf_abc-def"}, "NAME"),
        ({"abstain_low": 0.7}, "abstain_high"),
        ({"sleep_after_s": 1, "precision": "4bit"}, "quantised"),
    ],
)
def test_settings_that_cannot_be_meant(settings, said):
    with pytest.raises(ValidationError, match=said):
        JudgeSettings(**settings)


def test_a_token_that_is_named_and_not_there():
    with pytest.raises(JudgeError, match="NO_SUCH_TOKEN"):
        JudgeSettings(kind="http", token_variable="NO_SUCH_TOKEN").load()
