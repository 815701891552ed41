import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import form
from launcher import config, settings
from launcher.config import RunConfig
from launcher.preflight import Problem

DEMO = settings.of_preset("cpu-demo")


@pytest.mark.parametrize("preset", config.presets())
def test_the_form_holds_every_setting_of_every_preset(preset):
    values = settings.of_preset(preset)
    assert form.read(form.fill(values)) == {key: value for key, value in values.items() if key != "preset"}


def test_every_setting_stands_in_one_section():
    keys = [key for section in form.SECTIONS for key in section.keys]
    assert sorted(keys) == sorted(settings.FIELDS.keys() - {"preset", "name"})
    assert all(section.about for section in form.SECTIONS)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("train.steps", gr.Number),
        ("train.learning_rate", gr.Number),
        ("train.estimator", gr.Dropdown),
        ("memory.zero_stage", gr.Radio),
        ("device", gr.Radio),
        ("memory.adam_offload", gr.Checkbox),
        ("custom_configs.error_types", gr.CheckboxGroup),
        ("custom_configs.reward_coeff_config.realism", gr.Number),
        ("data.path", gr.Textbox),
        ("policy", gr.Textbox),
    ],
)
def test_the_schema_chooses_the_control(key, kind):
    made = form.component(key, DEMO[key])
    assert type(made) is kind
    assert made.label == form.label(key) and settings.FIELDS[key].description in made.info


def test_a_run_from_the_form_is_the_run_of_the_command_line():
    given = {
        "train.steps": 3,
        "policy": "org/model",
        "custom_configs.error_types": ["diagnosis", "dosage"],
        "name": "mine",
    }
    ordered = given | {"custom_configs.error_types": ["dosage", "diagnosis"]}
    made = form.resolve("cpu-demo", form.read(form.fill({**DEMO, **given})))
    assert made == config.resolve("cpu-demo", ordered)


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"train.steps": None}, "train.steps", "valid integer"),
        ({"train.steps": 2.5}, "train.steps", "valid integer"),
        ({"train.steps": 0}, "train.steps", "greater than or equal to 1"),
        (
            {"train.batch_size": 48, "train.micro_batch_size": 16},
            "train.batch_size",
            "must divide the 64 samples of a step",
        ),
        ({"rollout.micro_batch_size": 7}, "rollout.micro_batch_size", "must divide the 64 samples of a step"),
        ({"train.estimator": "rloo"}, "train.estimator", "subtracts the other player's reward"),
        ({"custom_configs.error_types": []}, "custom_configs.error_types", "at least 1 item"),
        ({"policy": " "}, "policy", "at least 1 character"),
        ({"data.source": "medec"}, "data.path", "is needed"),
        (
            {"custom_configs.no_attacker_turn": True, "custom_configs.no_defender_turn": True},
            "custom_configs.no_attacker_turn",
            "leave nobody to train",
        ),
    ],
)
def test_what_does_not_fit_is_said_at_its_setting(changes, field, text):
    problems = form.resolve("cpu-demo", form.read(form.fill({**DEMO, **changes})))
    assert [problem.field for problem in problems] == [field]
    assert text in problems[0].text


def test_a_field_shows_its_problem_and_the_presets_value():
    values = DEMO | {"train.steps": 0, "memory.adam_offload": True}
    marks = form.marks("cpu-demo", values, form.resolve("cpu-demo", values))
    assert [mark.level for mark in marks["train.steps"]] == ["error", "changed"]
    assert marks["train.steps"][0].text.startswith("Error: Input should be")
    assert marks["memory.adam_offload"] == [("changed", "Changed from off")]
    assert marks.keys() == {"train.steps", "memory.adam_offload"}


def test_a_section_tells_what_is_inside_while_it_is_folded():
    section = next(section for section in form.SECTIONS if section.name == "train")
    problem = Problem("train.steps", "too few")
    assert form.heading(section, "cpu-demo", DEMO, ()) == "train"
    changed = DEMO | {"train.steps": 0, "train.epochs": 2}
    assert form.heading(section, "cpu-demo", changed, [problem]) == "train: 2 changed, 1 to put right"


def test_bounds_are_said():
    assert form.bounds("rollout.top_p") == " (above 0, at most 1)"
    assert form.bounds("policy") == ""


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(form.KEYS) | st.text(max_size=9), ANYTHING) | ANYTHING)
def test_a_draft_from_a_browser_never_breaks_the_form(draft):
    values = form.with_draft("cpu-demo", draft)
    held = form.fill(values)
    assert form.fill(form.read(held) | {"preset": "cpu-demo"}) == [
        one.strip() if isinstance(one, str) else one for one in held
    ]
    assert isinstance(form.resolve("cpu-demo", form.read(held)), RunConfig | list)
    assert all(mark.level == "changed" for marks in form.marks("cpu-demo", values, ()).values() for mark in marks)


def test_a_draft_is_laid_over_its_preset():
    draft = {"train.steps": 7, "policy": "org/model", "train.estimator": "banana", "no.such": 1}
    assert form.with_draft("cpu-demo", draft) == DEMO | {"train.steps": 7, "policy": "org/model"}


def test_what_is_said_at_a_field_hides_nothing():
    (mark,) = form.marks("cpu-demo", DEMO, [Problem("policy", "no \u202emodel", "warning")])["policy"]
    assert mark == ("warning", "Warning: no ⟨U+202E⟩model")
