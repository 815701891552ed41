"""The alerts of the run that is shown, open and past, on the page Live. The status bar fetches them for the whole page."""

from pathlib import Path

import gradio as gr

STATIC = Path(__file__).parent / "static"

TEMPLATE = """
<section class="so-alerts" aria-labelledby="so-alerts-title" hidden>
  <h2 id="so-alerts-title">Alerts</h2>
  <table>
    <thead><tr><th>Alert</th><th>Step</th><th>Raised</th><th>Cleared</th><th>Shown by</th></tr></thead><tbody></tbody>
  </table>
</section>
"""


def build() -> gr.HTML:
    return gr.HTML(
        "", html_template=TEMPLATE, js_on_load=(STATIC / "alerts.js").read_text(encoding="utf-8"), elem_id="alerts",
        apply_default_css=False,
    )  # fmt: skip
