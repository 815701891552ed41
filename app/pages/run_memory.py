"""The memory plan in the form of a run: what it will hold on a GPU, as the settings are now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
import psutil

from app import form, memory_bars
from launcher import memory, memory_advice, memory_report, model_shape, preflight
from launcher.config import RunConfig
from launcher.markup import Markup, tag

ANY_NOTES = "notes.csv"
"""Stands for a data.path that is not given yet: what the notes are does not count here."""
UNNAMED = "Give the memory of the GPU that the run is for: no NVIDIA GPU answers on this machine."
ELSEWHERE = "Give the memory of one GPU of the cluster."
UNFIT = "The plan comes when the settings fit together."

CLICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-setting]');
  if (button) trigger('select', {setting: button.dataset.setting, value: JSON.parse(button.dataset.value)});
});
"""


@dataclass(frozen=True)
class Panel:
    fold: gr.Accordion
    size: gr.Number
    bars: gr.HTML


def build() -> Panel:
    with gr.Accordion("GPU memory", open=True, visible=False, elem_id="memory-plan") as fold:
        size = gr.Number(
            None, label="GPU memory", info="GB, as the GPU is sold. Empty takes this machine's first GPU.",
            elem_id="gpu-gb", min_width=200,
        )  # fmt: skip
        bars = gr.HTML(js_on_load=CLICK, elem_id="memory-bars", elem_classes="so-shown", apply_default_css=False)
    return Panel(fold, size, bars)


def show(panel: Panel, preset: str, values: Mapping[str, Any], sold_gb: float | None) -> dict:
    """Updates of the panel; it is there for runs on a GPU alone."""
    on_gpu = values["device"] == "cuda"
    said = str(plan(preset, values, sold_gb)) if on_gpu else ""
    return {panel.fold: gr.update(visible=on_gpu), panel.bars: said}


def plan(preset: str, values: Mapping[str, Any], sold_gb: float | None) -> Markup:
    run = form.resolve(preset, {**values, "data.path": values["data.path"] or ANY_NOTES})
    if not isinstance(run, RunConfig):
        return tag("p", UNFIT, class_="empty")
    cluster = run.cluster.ray_address is not None
    size = memory_report.gpu_bytes(sold_gb) if sold_gb and sold_gb > 0 else None if cluster else preflight.gpu_total()
    if size is None:
        return tag("p", ELSEWHERE if cluster else UNNAMED, class_="empty")
    try:
        shape, judge = model_shape.of_model(run.policy), memory.judge_of(run.judge)
        work = memory.Workload(run, shape, size, judge, main=None if sold_gb else psutil.virtual_memory().available)
    except model_shape.UnknownShape as error:
        return tag("p", f"No plan: {error}", class_="empty")
    return memory_bars.drawn(memory.plan(work), memory_advice.advise(work))


def changed(values: Mapping[str, Any], setting: object, value: object) -> dict[str, Any]:
    """The settings with the one that was clicked; as they are for what is no setting's value."""
    known = setting in form.KEYS and form.held(setting, value) == value
    return dict(values) | ({setting: value} if known else {})
