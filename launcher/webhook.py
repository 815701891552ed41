"""Tells alerts to a web address. Address and secret come from the environment alone: either may be worth keeping.

SECOND_OPINION_WEBHOOK is the address; with SECOND_OPINION_WEBHOOK_SECRET every post is signed.
"""

import hashlib
import hmac
import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # a supervisor without a webhook does without it: it takes a fifth of a second to load
    import httpx

ADDRESS, SECRET = "SECOND_OPINION_WEBHOOK", "SECOND_OPINION_WEBHOOK_SECRET"

PRIVATE = (ADDRESS, SECRET)
"""What a supervisor does not hand on to its trainer."""

TIMEOUT = 5.0
"""Seconds for each of: connecting, sending, waiting for the answer."""

PAUSES = (1.0, 5.0)
"""Seconds before the second and the third try; there is no fourth."""

LONGEST = 2000


class WrongAddress(ValueError):
    """The address is none that alerts can be posted to. The message does not repeat it."""


class Webhook(NamedTuple):
    url: "httpx.URL"
    secret: str

    @property
    def host(self) -> str:
        """All of the address that is told: the rest may be a secret."""
        return self.url.host


class Post(NamedTuple):
    id: str
    """The same at every try, so that a receiver can tell."""
    body: Mapping[str, object]


def from_environment(env: Mapping[str, str]) -> Webhook | None:
    """None without an address. Errors: WrongAddress."""
    text = env.get(ADDRESS, "").strip()
    return Webhook(address(text), env.get(SECRET, "")) if text else None


def address(text: str) -> "httpx.URL":
    """Errors: WrongAddress for anything but a plain http or https address."""
    import httpx

    if len(text) > LONGEST or not text.isprintable() or " " in text:
        raise WrongAddress(f"{ADDRESS} is longer than {LONGEST} characters, or holds some that no address has")
    try:
        url = httpx.URL(text)
        port = url.port
    except (httpx.InvalidURL, ValueError) as error:
        raise WrongAddress(f"{ADDRESS} is no web address") from error
    if url.scheme not in ("http", "https") or not url.host or not 0 < (port or 443) < 65536:
        raise WrongAddress(f"{ADDRESS} must begin with http:// or https:// and name a host")
    if url.userinfo or url.fragment:
        raise WrongAddress(f"{ADDRESS} must not hold a user, a password or a #; use {SECRET} to sign the posts")
    return url


def send(hook: Webhook, post: Post, pause: Callable[[float], object] = time.sleep) -> str | None:
    """Posts, trying again where that may help. Returns why it was not taken, None if it was.

    A redirect is not followed: an address that sends posts elsewhere has to be put right.
    """
    why = None
    for wait in (*PAUSES, None):
        why, again = _once(hook, post)
        if why is None or not again or wait is None:
            return why
        pause(wait)
    return why


def _once(hook: Webhook, post: Post) -> tuple[str | None, bool]:
    """Why it was not taken, and whether to try again."""
    import httpx

    body = json.dumps(post.body, ensure_ascii=False).encode()
    headers = {"content-type": "application/json", "x-second-opinion-delivery": post.id}
    if hook.secret:
        headers["x-second-opinion-signature"] = f"sha256={signature(hook.secret, body)}"
    try:
        with (
            httpx.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=False) as client,
            client.stream("POST", hook.url, content=body, headers=headers) as answer,
        ):
            code = answer.status_code  # the answer's body is never read: it has no end if its sender so wishes
    except (httpx.HTTPError, OSError) as error:
        return type(error).__name__, True
    if code < 300:
        return None, False
    return f"it answered {code}" + (
        ", and redirects are not followed" if code < 400 else ""
    ), code >= 500 or code == 429


def signature(secret: str, body: bytes) -> str:
    """HMAC-SHA256 in hex."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Poster:
    """Posts one after the other in a thread of its own, so that nobody waits.

    `told` gets each post's id, and why it was not taken, None if it was.
    """

    def __init__(self, hook: Webhook, told: Callable[[str, str | None], None]):
        self.hook, self.told = hook, told
        self._waiting: queue.SimpleQueue[Post | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def post(self, post: Post) -> None:
        self._waiting.put(post)

    def close(self, seconds: float) -> None:
        """Lets what is waiting be posted, for at most so long; no pause is made any more."""
        self._closing.set()
        self._waiting.put(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        while (post := self._waiting.get()) is not None:
            self.told(post.id, send(self.hook, post, self._closing.wait))
