"""Who is listened to: the first thing that every request passes, whatever route it asks for.

It refuses names of this machine that it does not know (DNS rebinding), requests that another site's page sends (cross-site
posts), routes of Gradio that this dashboard has no use for, and, where a login is asked for, all but the login itself.
"""

import ipaddress
import re
import time
from collections import deque
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE = ("GET", "HEAD", "OPTIONS")

CLOSED = re.compile(
    r"(/gradio_api)?/(proxy=|file=https?:|file=//|run-history|runs/?$|monitoring|dev/|vibe|undo-vibe|process_recording"
    r"|openapi\.json|docs|redoc|mcp|stream/|custom_component/)",
    re.IGNORECASE,
)
"""Nothing here needs them, and the first two fetch addresses from the outside."""

OPEN = re.compile(
    r"/|/login/?|/logout|/(gradio_api/)?(login_check|theme\.css|app_id|startup-events)/?|/(favicon\.ico|robots\.txt)"
    r"|/manifest\.json|/(assets|static|svelte|second-opinion/static)/.*"
)
"""What a page needs to ask for a name and a password. None of it tells anything of a run."""

MOST_BYTES = 32 * 2**20
"""Of a request. Scripts that are imported have some kilobytes."""

MOST_TRIES, WITHIN = 10, 60.0
"""Failed logins in so many seconds, of all callers together, after which nobody is listened to for a while."""


class Asked(NamedTuple):
    """A request, as far as it matters here."""

    method: str
    path: str
    host: str
    origin: str | None = None
    site: str | None = None
    """Sec-Fetch-Site: where a browser says that the request comes from. None from anything but a browser."""
    navigates: bool = False
    """Somebody follows a link, or types an address."""
    length: str | None = None
    chunked: bool = False
    signed_in: bool = False


class Refusal(NamedTuple):
    status: int
    why: str


def refused(asked: Asked, names: frozenset[str], login: bool) -> Refusal | None:
    """Why the request is not listened to. `names` may stand in Host; an address of numbers always may: a name is what
    rebinding needs."""
    if not known_host(asked.host, names):
        return Refusal(400, "unknown host: start the dashboard with --allow-host NAME to be reached by another name")
    if _from_elsewhere(asked):
        return Refusal(403, "refused: the request comes from another site's page")
    if asked.method not in SAFE and (problem := _size(asked)):
        return problem
    if CLOSED.match(asked.path):
        return Refusal(404, "there is no such thing here")
    if login and not asked.signed_in and not OPEN.fullmatch(asked.path):
        return Refusal(401, "log in first")
    return None


def known_host(host: str, names: frozenset[str]) -> bool:
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::\d{1,5})?", host, re.ASCII)
    if found is None:
        return False
    name = found[1].strip("[]").rstrip(".").lower()
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return name in names


def _from_elsewhere(asked: Asked) -> bool:
    """A browser says so, or names an origin that is not the host that it asks."""
    if asked.site in ("cross-site", "same-site") and not (asked.navigates and asked.method == "GET"):
        return True
    if asked.origin is None:
        return False
    return asked.origin.partition("://")[2].lower() != asked.host.lower()


def _size(asked: Asked) -> Refusal | None:
    if asked.chunked:
        return Refusal(411, "a request must say how long it is")
    if asked.length is not None and not (asked.length.isascii() and asked.length.isdecimal()):
        return Refusal(400, "the length of the request is no number")
    return Refusal(413, f"more than {MOST_BYTES} bytes") if int(asked.length or 0) > MOST_BYTES else None


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, names: frozenset[str] = frozenset(), login: bool = False):
        self.app, self.names, self.login = app, names, login
        self.failed: deque[float] = deque(maxlen=MOST_TRIES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        refusal = refused(asked(scope), self.names, self.login) or self._too_many(scope)
        if refusal:
            answer = PlainTextResponse(refusal.why, refusal.status, {"Connection": "close"})
            return await answer(scope, receive, send)
        await self.app(scope, receive, self._told(scope, send))

    def _too_many(self, scope: Scope) -> Refusal | None:
        if not _is_login(scope) or len(self.failed) < MOST_TRIES or time.monotonic() - self.failed[0] > WITHIN:
            return None
        return Refusal(429, f"{MOST_TRIES} logins failed within {WITHIN:.0f} seconds: wait a minute")

    def _told(self, scope: Scope, send: Send) -> Send:
        """Sends on, with headers that keep other pages away from this one; a failed login is counted."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                if _is_login(scope) and message["status"] >= 400:
                    self.failed.append(time.monotonic())
                message = message | {"headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        return told


HEADERS = (
    (b"x-frame-options", b"DENY"), (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)  # fmt: skip


def _is_login(scope: Scope) -> bool:
    return scope["method"] == "POST" and scope["path"].rstrip("/") == "/login"


def asked(scope: Scope) -> Asked:
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    return Asked(
        scope["method"], scope["path"], hosts[0] if len(hosts) == 1 else "", headers.get("origin"),
        headers.get("sec-fetch-site"), headers.get("sec-fetch-mode") == "navigate", headers.get("content-length"),
        "transfer-encoding" in headers, signed_in(scope, headers.get("cookie", "")),
    )  # fmt: skip


def signed_in(scope: Scope, cookies: str) -> bool:
    """A cookie holds a token that Gradio gave at a login."""
    served = scope.get("app")
    tokens, cookie = getattr(served, "tokens", {}), getattr(served, "cookie_id", "")
    try:
        found = SimpleCookie(cookies)
    except CookieError:
        return False
    names = (f"access-token-{cookie}", f"access-token-unsecure-{cookie}")
    return any(name in found and found[name].value in tokens for name in names)
