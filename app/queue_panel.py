"""The queue on the page History: who waits for which device, and buttons to move and withdraw."""

from pathlib import Path
from typing import Any

import gradio as gr

from app.shared import Shared
from app.status import tried
from launcher import queue

STATIC = Path(__file__).parent / "static"

TEMPLATE = """
<section class="so-queue" aria-label="Queue" hidden>
  <h2>Waiting for a device</h2>
  <p role="alert" hidden></p>
  <div class="wide" tabindex="0"><table>
    <thead><tr>
      <th scope="col">place</th><th scope="col">run</th><th scope="col">name</th><th scope="col">waits for</th>
      <th scope="col">since</th><th scope="col">change</th>
    </tr></thead><tbody></tbody>
  </table></div>
</section>
"""


def build(shared: Shared) -> gr.HTML:
    """It is shown while a run waits, and asks for news by itself."""

    def waiting(asked: dict[str, Any]) -> list[dict[str, Any]]:
        return rows(shared)

    def move(asked: dict[str, Any]) -> dict[str, str]:
        return tried(lambda: shared.runs.move(asked["run"], int(asked["place"])))

    def withdraw(asked: dict[str, Any]) -> dict[str, str]:
        return tried(lambda: shared.runs.withdraw(asked["run"]))

    return gr.HTML(
        "", html_template=TEMPLATE, js_on_load=(STATIC / "queue.js").read_text(encoding="utf-8"), elem_id="queue",
        server_functions=[waiting, move, withdraw], elem_classes="so-shown", apply_default_css=False,
    )  # fmt: skip


def rows(shared: Shared) -> list[dict[str, Any]]:
    names = {row.id: row.name or "" for row in shared.store.runs()}
    line = enumerate(queue.waiting(shared.runs.folder), 1)
    return [{"place": place, "name": names.get(one.run, "")} | one._asdict() for place, one in line]
