"""Reads what an OpenAI-compatible chat server replied."""

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medical_team.judge.answers import Answer, Letters, Meaning, Mode, Odds, read_explained, read_letters
from medical_team.judge.model_judge import Unreadable


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


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
    return Answer(_odds(tokens, *_places(tokens, letters)) if letters else None, letters, reason, text)


def _places(tokens: Sequence[_Token], letters: Letters) -> tuple[int | None, int | None]:
    """Where the two letters stand that end an explanation. Some servers list the end token after them."""
    said = [_bare(token.token) for token in tokens]
    style = "Y" if letters.realistic else "N"
    second = next((index for index in reversed(range(len(said))) if said[index] == style), None)
    if second is None:
        return None, None
    first = next((index for index in reversed(range(second)) if said[index] == letters.meaning), None)
    return (first, second) if first is not None else (None, None)


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
