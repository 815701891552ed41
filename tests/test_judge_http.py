"""Judges over HTTP, against real servers on loopback."""

import asyncio
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import uvicorn
from pydantic import ValidationError
from test_game import CLEAN, ERROR, REWORDED, FixedJudge, sample, say

from medical_team import data
from medical_team.config import GameConfig
from medical_team.judge import Question
from medical_team.judge.chat_reply import read_reply
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


@contextmanager
def judge_server(judge, secret: str | None = None, port: int = 0):
    app = application(judge, None, secret, GameConfig())
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
    from dataclasses import replace

    import httpx

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
