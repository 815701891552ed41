"""Judges behind a network: any OpenAI-compatible chat server, and the project's own judge server."""

import asyncio
import random

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from medical_team.judge import Question
from medical_team.judge.answers import Answer, Mode, prompt
from medical_team.judge.chat_reply import read_reply
from medical_team.judge.failures import Failures
from medical_team.judge.model_files import JudgeError
from medical_team.judge.model_judge import PatientJudge, Unreadable
from medical_team.judge.settings import JudgeSettings
from medical_team.records import VerdictRecord
from medical_team.types import Verdict

TOP = 20
"""Likeliest tokens to be told of, for each token of a reply: the most that OpenAI's own servers give."""
LETTER_TOKENS = 4
"""Tokens of a reply that is two letters."""
PAUSE, LONGEST_PAUSE = 0.5, 20.0
"""Seconds before the first repetition, doubled for each further one; and the most."""
GREETING_SECONDS = 3.0
AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which the same request may do better."""


class _Greeting(BaseModel):
    judge: str


class _Told(VerdictRecord):
    model_config = ConfigDict(allow_inf_nan=False)


class Client:
    """Posts JSON, with a bound on what is open at once, and repeats what may do better later.

    Errors: TimeoutError; JudgeError for a server that is not there, or refuses.
    """

    def __init__(self, settings: JudgeSettings):
        self._url, self._retries, self._token = settings.url, settings.retries, settings.token()
        self._room = settings.concurrency
        self._timeout = settings.timeout_s / (settings.retries + 1)  # what an attempt may take, so that all have a turn
        self._open: tuple[asyncio.AbstractEventLoop, httpx.AsyncClient, asyncio.Semaphore] | None = None

    async def post(self, path: str, body: dict) -> bytes:
        client, room = self._here()
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                async with room:
                    answer = await client.post(f"{self._url}{path}", json=body)
            except httpx.TimeoutException as error:
                if last:
                    raise TimeoutError(f"{self._url} did not answer within {self._timeout:g} s") from error
            except httpx.HTTPError as error:
                if last:
                    raise JudgeError(f"{self._url} cannot be reached: {error or type(error).__name__}") from error
            else:
                if answer.is_success:
                    return answer.content
                if last or answer.status_code not in AGAIN:
                    raise JudgeError(f"{self._url}{path} answers {answer.status_code}: {answer.text[:200]}")
            await asyncio.sleep(pause(attempt))
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        if self._open:
            await self._open[1].aclose()
            self._open = None

    def _here(self) -> tuple[httpx.AsyncClient, asyncio.Semaphore]:
        """The connections of this event loop."""
        loop = asyncio.get_running_loop()
        if self._open is None or self._open[0] is not loop:
            headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
            limits = httpx.Limits(max_connections=self._room)
            client = httpx.AsyncClient(headers=headers, timeout=self._timeout, limits=limits)
            self._open = loop, client, asyncio.Semaphore(self._room)
        return self._open[1], self._open[2]


def pause(attempt: int) -> float:
    """Seconds, with jitter, so that the games of a batch do not all come again at once."""
    return min(LONGEST_PAUSE, PAUSE * 2**attempt) * random.uniform(0.5, 1.5)


class ChatBackend:
    """An OpenAI-compatible server. Without log probabilities in its replies their letters alone count."""

    def __init__(self, settings: JudgeSettings, name: str):
        self.name, self._settings, self._client = name, settings, Client(settings)

    async def ask(self, question: Question, mode: Mode) -> Answer:
        body = {
            "model": self._settings.model,
            "messages": [{"role": "user", "content": prompt(question, mode)}],
            "temperature": 0,
            "max_tokens": LETTER_TOKENS if mode == "logit" else self._settings.explain_tokens,
            "logprobs": True,
            "top_logprobs": TOP,
        }
        return read_reply(await self._client.post("/chat/completions", body), mode)

    async def close(self) -> None:
        await self._client.close()


class ServerJudge(PatientJudge):
    """The project's own judge server: it has the model, and sends whole verdicts."""

    def __init__(self, settings: JudgeSettings, name: str, failures: Failures | None = None):
        super().__init__(name, settings.mode, settings.timeout_s, failures)
        self._client = Client(settings)

    async def decide(self, question: Question, own_view: bool) -> Verdict:
        asked = {"clean": question.clean, "error": question.error, "note": question.note, "own_view": own_view}
        content = await self._client.post("/judge", asked)
        try:
            told = _Told.model_validate_json(content)
        except ValidationError as error:
            raise Unreadable(f"no verdict: {content[:200].decode('utf-8', 'replace')}") from error
        if told.reason in ("failed", "timeout"):
            raise JudgeError(f"the judge server could not tell: {told.rationale}")
        self.rename(told.judge)  # the server may have come back with another model
        return Verdict(**{name: value for name, value in told if name != "valid"})

    async def close(self) -> None:
        await self._client.close()


def server_name(settings: JudgeSettings) -> str:
    """The name of the judge that the server has. Errors: JudgeError if none answers."""
    start = "start it with `python -m medical_team.judge.server`"
    try:
        return _Greeting.model_validate_json(_greet(settings, "/health", "judge", start)).judge
    except ValidationError as error:
        raise JudgeError(f"what answers at {settings.url} is no judge server: {start}") from error


def reachable(settings: JudgeSettings) -> None:
    """Asks a chat server for its models, which costs it nothing. Errors: JudgeError if none answers."""
    _greet(settings, "/models", "chat", "start it, or check judge.url, which ends in /v1 for most such servers")


def _greet(settings: JudgeSettings, path: str, kind: str, hint: str) -> bytes:
    headers = {"Authorization": f"Bearer {token}"} if (token := settings.token()) else {}
    try:
        answer = httpx.get(f"{settings.url}{path}", headers=headers, timeout=GREETING_SECONDS)
        answer.raise_for_status()
        return answer.content
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        raise JudgeError(f"{settings.url}{path} answers {status}: check judge.url and its token") from error
    except httpx.HTTPError as error:
        why = error or type(error).__name__
        raise JudgeError(f"no {kind} server answers at {settings.url} ({why}): {hint}") from error
