"""Judges behind a network: any OpenAI-compatible chat server, and the project's own judge server."""

import asyncio
import math
import random
from collections.abc import Sequence

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medical_team.judge import Question
from medical_team.judge.answers import Answer, Meaning, Mode, Odds, prompt, read_explained, read_letters
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


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Chance(_Part):
    token: str
    logprob: float


class _Token(_Chance):
    top_logprobs: tuple[_Chance, ...] = ()


class _Logprobs(_Part):
    content: tuple[_Token, ...] | None = None


class _Message(_Part):
    content: str | None = None


class _Choice(_Part):
    message: _Message
    logprobs: _Logprobs | None = None


class _Reply(_Part):
    choices: tuple[_Choice, ...] = Field(min_length=1)


class _Greeting(_Part):
    judge: str


class Client:
    """Posts JSON, with a bound on what is open at once, and repeats what may do better later.

    Errors: TimeoutError; JudgeError for a server that is not there, or refuses.
    """

    def __init__(self, settings: JudgeSettings):
        self._url, self._retries, self._token = settings.url, settings.retries, settings.token()
        self._timeout, self._room = settings.timeout_s, settings.concurrency
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


def read_reply(content: bytes, mode: Mode) -> Answer:
    """What a chat server said. Errors: Unreadable for anything that is no reply of a chat server."""
    try:
        choice = _Reply.model_validate_json(content).choices[0]
    except ValidationError as error:
        raise Unreadable(f"no reply of a chat server: {content[:200].decode('utf-8', 'replace')}") from error
    text = choice.message.content or ""
    tokens = (choice.logprobs.content if choice.logprobs else None) or ()
    if mode == "logit":
        second = next((index for index, token in enumerate(tokens) if index and _bare(token.token)), None)
        return Answer(_odds(tokens, 0, second), read_letters(text), raw=text)
    letters, reason = read_explained(text)
    return Answer(_odds(tokens, *_last_two(tokens)) if letters else None, letters, reason, text)


def _last_two(tokens: Sequence[_Token]) -> tuple[int | None, int | None]:
    """Where the two letters stand that end an explanation: the last tokens but for white space and a full stop."""
    said = [index for index, token in enumerate(tokens) if _bare(token.token) not in ("", ".")]
    return (said[-2], said[-1]) if len(said) > 1 else (None, None)


def _odds(tokens: Sequence[_Token], first: int | None, second: int | None) -> Odds | None:
    """None where the server told no probabilities for the first letter."""
    if first is None or first >= len(tokens) or not tokens[first].top_logprobs:
        return None
    meanings, mass = _shares(tokens[first], tuple(Meaning))
    (realistic, _), style_mass = _shares(tokens[second], ("Y", "N")) if second is not None else ((0.0, 0.0), 0.0)
    return Odds(*meanings, mass=mass, realistic=realistic, realistic_mass=style_mass)


def _shares(token: _Token, letters: Sequence[str]) -> tuple[tuple[float, ...], float]:
    """The letters' shares of their common probability, and that probability."""
    sums = [
        sum(math.exp(one.logprob) for one in token.top_logprobs if _bare(one.token) == letter) for letter in letters
    ]
    mass = sum(sums)
    return tuple(value / mass if mass else 0.0 for value in sums), mass


def _bare(token: str) -> str:
    """The token without the marks that tokenizers write for a space."""
    return token.strip(" \n\t\u2581\u0120\u010a")


class ServerJudge(PatientJudge):
    """The project's own judge server: it has the model, and sends whole verdicts."""

    def __init__(self, settings: JudgeSettings, name: str, failures: Failures | None = None):
        super().__init__(name, settings.mode, settings.timeout_s, failures)
        self._client = Client(settings)

    async def decide(self, question: Question) -> Verdict:
        asked = {"clean": question.clean, "error": question.error, "note": question.note}
        content = await self._client.post("/judge", asked)
        try:
            told = VerdictRecord.model_validate_json(content)
        except ValidationError as error:
            raise Unreadable(f"no verdict: {content[:200].decode('utf-8', 'replace')}") from error
        if told.reason in ("failed", "timeout"):
            raise JudgeError(f"the judge server could not tell: {told.rationale}")
        return Verdict(**{name: value for name, value in told if name != "valid"})

    async def close(self) -> None:
        await self._client.close()


def server_name(settings: JudgeSettings) -> str:
    """The name of the judge that the server has. Errors: JudgeError if none answers."""
    headers = {"Authorization": f"Bearer {token}"} if (token := settings.token()) else {}
    start = "start it with `python -m medical_team.judge.server`"
    try:
        answer = httpx.get(f"{settings.url}/health", headers=headers, timeout=GREETING_SECONDS)
        answer.raise_for_status()
        return _Greeting.model_validate_json(answer.content).judge
    except httpx.HTTPStatusError as error:
        raise JudgeError(
            f"{settings.url}/health answers {error.response.status_code}: check judge.url and its token"
        ) from error
    except httpx.HTTPError as error:
        raise JudgeError(
            f"no judge server answers at {settings.url} ({error or type(error).__name__}): {start}"
        ) from error
    except ValidationError as error:
        raise JudgeError(f"what answers at {settings.url} is no judge server: {start}") from error
