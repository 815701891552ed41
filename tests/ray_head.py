"""Stands in for a Ray head's dashboard: answers as one did, and remembers what it was asked to do."""

import http.server
import json
import threading
from contextlib import contextmanager
from pathlib import Path

ANSWERS = Path(__file__).parent / "recorded" / "ray"


class Head:
    def __init__(self):
        self.jobs: dict[str, str] = {}
        """Submission id -> status. A stop ends it at once."""
        self.stopped: list[str] = []
        self.stubborn = False
        self.address = ""


@contextmanager
def ray_head():
    head = Head()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            _, _, *words = self.path.split("/")
            if words == ["jobs", ""]:
                self.answer([{"submission_id": id, "status": status} for id, status in head.jobs.items()])
            elif words[0] == "jobs":
                self.answer({"status": head.jobs[words[1]]})
            else:
                self.answer(json.loads((ANSWERS / f"{words[-1]}.json").read_text(encoding="utf-8")))

        def do_POST(self):
            id = self.path.split("/")[3]
            head.stopped.append(id)
            if not head.stubborn:
                head.jobs[id] = "STOPPED"
            self.answer({"stopped": True})

        def answer(self, value) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    head.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield head
    finally:
        server.shutdown()
        server.server_close()
