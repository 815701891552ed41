"""What the page holds before Gradio mounts it: the run and the tab to open, and the script that draws its curves.

Gradio takes seconds to mount the whole page. A board of curves needs nothing of it, so it is drawn before, and Gradio's page
takes it over.
"""

from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from pathlib import Path

import brotli
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app import live_chart
from app.login import logged_in
from app.points import PLOTS
from launcher.markup import join, tag

STATIC = Path(__file__).parent / "static"
FILES = {
    "style.css": (STATIC / "style.css", "text/css"),
    "board.js": (STATIC / "board.js", "text/javascript"),
    "plot.js": (STATIC / "plot.js", "text/javascript"),
    "plotly.js": (STATIC / "vendor" / "plotly-basic.min.js", "text/javascript"),
}
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
BOARD = (STATIC / "board.html").read_text(encoding="utf-8")
FIRST = (STATIC / "first.js").read_text(encoding="utf-8")

GRADIO, LATER = b'<script type="module"', b'<script type="later"'
"""Gradio's script, and how it is marked to wait for the first curve: first.js starts it."""

FirstScreen = Callable[[Request], tuple[str, str]]
"""The run to show and the tab to open."""


MARK = blake2b(b"".join(path.read_bytes() for path, _ in FILES.values()), digest_size=6).hexdigest()


def address(name: str) -> str:
    """Where the page finds the file: another place whenever a file is another, so that a browser may keep them."""
    return f"second-opinion/static/{MARK}/{name}"


def routes() -> list[Route]:
    for name in FILES:
        _content(name, packed=True)
    return [Route("/second-opinion/static/{mark}/{name}", _file)]


def _file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in FILES:
        return Response(status_code=404)
    packed = "br" in request.headers.get("accept-encoding", "")
    headers = FOREVER | ({"Content-Encoding": "br"} if packed else {})
    return Response(_content(name, packed), headers=headers, media_type=FILES[name][1])


@cache
def _content(name: str, packed: bool) -> bytes:
    """Packed once: Gradio would do it for every browser anew."""
    content = FILES[name][0].read_bytes()
    return brotli.compress(content, quality=5) if packed else content


class Opening:
    """Puts `head` into the page that Gradio makes."""

    def __init__(self, app: ASGIApp, first: FirstScreen):
        self.app, self.first = app, first
        self.put_in = BaseHTTPMiddleware(app, dispatch=self._put_in)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and scope["path"] == "/" and scope["method"] == "GET"
        await (self.put_in if is_page else self.app)(scope, receive, send)

    async def _put_in(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        run, tab = await run_in_threadpool(self.first, request) if logged_in(request) else ("", "")
        page = await call_next(request)
        text = b"".join([part async for part in page.body_iterator])
        headers = {name: value for name, value in page.headers.items() if name != "content-length"}
        if run and tab == "live":
            text = text.replace(GRADIO, LATER)
        text = text.replace(b"<head>", b"<head>" + head(run, tab).encode(), 1)
        return Response(text, page.status_code, headers | {"Cache-Control": "no-store"})


def head(run: str, tab: str) -> str:
    plots = {board: [live_chart.described(plot) for plot in found] for board, found in PLOTS.items()}
    facts = htmlsafe_json_dumps({"run": run, "tab": tab, "plots": plots})
    return str(join(
        tag("link", rel="stylesheet", href=address("style.css")),
        tag("script", Markup("window.secondOpinion = {{first: {}}};\n{}").format(facts, Markup(FIRST))),
        tag("template", Markup(BOARD), id="so-board"),
        tag("script", src=address("plotly.js"), id="so-plotly", async_=True),
        tag("script", src=address("board.js"), type="module"),
        tag("link", rel="modulepreload", href=address("plot.js")),
    ))  # fmt: skip
