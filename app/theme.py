"""Colours, type and spacing: quiet and dense, with the system's own fonts."""

import gradio as gr
from gradio.themes.utils import colors, sizes

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def theme() -> gr.themes.Base:
    """Light and dark; the page's body carries the class `dark` for the latter."""
    base = gr.themes.Base(
        primary_hue=colors.teal, secondary_hue=colors.slate, neutral_hue=colors.slate, spacing_size=sizes.spacing_sm,
        radius_size=sizes.radius_sm, text_size=sizes.text_sm, font=SANS, font_mono=MONO,
    )  # fmt: skip
    return base.set(
        body_background_fill="#f7f8f9", body_background_fill_dark="#101418",
        background_fill_primary="#ffffff", background_fill_primary_dark="#171c21",
        background_fill_secondary="#f1f3f5", background_fill_secondary_dark="#1e252b",
        block_background_fill="*background_fill_primary", block_background_fill_dark="*background_fill_primary",
        block_shadow="none", block_border_width="1px", block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent", block_label_border_width="0px",
        block_label_text_color="*body_text_color_subdued", block_title_text_color="*body_text_color",
        block_title_text_weight="600", block_info_text_color="*body_text_color_subdued",
        body_text_color="#1b2329", body_text_color_dark="#e4e9ed",
        body_text_color_subdued="#52606b", body_text_color_subdued_dark="#a3b0ba",
        border_color_primary="#d5dbe0", border_color_primary_dark="#303a43",
        input_background_fill="*background_fill_primary", input_background_fill_dark="#12171b",
        input_border_color="#8c99a4", input_border_color_dark="#5f6d78",
        input_border_color_focus="#0f766e", input_border_color_focus_dark="#5eead4",
        input_placeholder_color="#66737e", input_placeholder_color_dark="#8f9ca6",
        link_text_color="#0f766e", link_text_color_dark="#5eead4",
        link_text_color_hover="#115e59", link_text_color_hover_dark="#99f6e4",
        button_primary_background_fill="#0f766e", button_primary_background_fill_dark="#0f766e",
        button_primary_background_fill_hover="#115e59", button_primary_background_fill_hover_dark="#115e59",
        button_primary_text_color="#ffffff", button_primary_text_color_dark="#ffffff",
        button_secondary_background_fill="*background_fill_primary",
        button_secondary_background_fill_dark="*background_fill_secondary",
        button_secondary_border_color="#8c99a4", button_secondary_border_color_dark="#5f6d78",
        button_secondary_text_color="*body_text_color", button_secondary_text_color_dark="*body_text_color",
        button_border_width="1px", button_large_text_weight="600", button_transition="none",
        checkbox_border_color="#6b7985", checkbox_border_color_dark="#7c8a95",
        slider_color="#0f766e", slider_color_dark="#2dd4bf",
        color_accent_soft="#d6efec", color_accent_soft_dark="#123a37",
        table_border_color="*border_color_primary", table_border_color_dark="*border_color_primary",
        table_even_background_fill="*background_fill_primary",
        table_even_background_fill_dark="*background_fill_primary",
        table_odd_background_fill="*background_fill_secondary",
        table_odd_background_fill_dark="*background_fill_secondary",
    )  # fmt: skip
