"""What the page holds before Gradio mounts it: the run and the tab to open, and the script that draws its curves.

Gradio takes seconds to mount the whole page. A board of curves needs nothing of it, so it is drawn meanwhile, and Gradio's
page takes it over.
"""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app import live_chart
from app.login import logged_in
from app.points import PLOTS
from launcher.markup import join, tag

STATIC = Path(__file__).parent / "static"
FILES = {
    "style.css": STATIC / "style.css", "board.js": STATIC / "board.js", "plot.js": STATIC / "plot.js",
    "plotly.js": STATIC / "vendor" / "plotly-basic.min.js",
}  # fmt: skip
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
BOARD = (STATIC / "board.html").read_text(encoding="utf-8")

FirstScreen = Callable[[Request], tuple[str, str]]
"""The run to show and the tab to open."""


MARK = blake2b(b"".join(path.read_bytes() for path in FILES.values()), digest_size=6).hexdigest()


def address(name: str) -> str:
    """Where the page finds the file: another place whenever a file is another, so that a browser may keep them."""
    return f"second-opinion/static/{MARK}/{name}"


def routes() -> list[Route]:
    return [Route("/second-opinion/static/{mark}/{name}", _file)]


def _file(request: Request) -> Response:
    path = FILES.get(request.path_params["name"])
    return FileResponse(path, headers=FOREVER) if path else Response(status_code=404)


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
        text = text.replace(b"<head>", b"<head>" + head(run, tab).encode(), 1)
        return Response(text, page.status_code, headers | {"Cache-Control": "no-store"})


def head(run: str, tab: str) -> str:
    plots = {board: [live_chart.described(plot) for plot in found] for board, found in PLOTS.items()}
    facts = htmlsafe_json_dumps({"run": run, "tab": tab, "plots": plots})
    return str(join(
        tag("link", rel="stylesheet", href=address("style.css")),
        tag("script", facts, type="application/json", id="so-first"),
        tag("template", Markup(BOARD), id="so-board"),
        tag("script", src=address("plotly.js"), id="so-plotly", async_=True),
        tag("script", src=address("board.js"), type="module"),
        tag("link", rel="modulepreload", href=address("plot.js")),
    ))  # fmt: skip
