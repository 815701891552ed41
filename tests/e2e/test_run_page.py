"""The Run page in a real browser, with an engine that trains nothing."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from browser import PROJECT, dashboard, opened, violations
from conftest import fake_engine
from playwright.sync_api import Page, expect

from app.form import SECTIONS
from app.pages.run import OPEN
from launcher import rundir

pytestmark = pytest.mark.e2e
GUIDE = PROJECT / "tests" / "data" / "train_medical_local.sh"
HOSTILE = '<img src=x onerror="window.hurt=1">${window.hurt=1}{{x}}</script>\u202e'


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A dashboard for the tests that start nothing. It asks no hub."""
    folder = tmp_path_factory.mktemp("nothing-started")
    with dashboard(folder / "runs", HF_HUB_OFFLINE="1", **fake_engine(folder)) as found:
        yield found
    assert rundir.every(folder / "runs") == []


def ready(page: Page) -> None:
    """The form is filled in and the preflight is done."""
    done = re.compile("nothing stands in the way|Ready to start|to put right")
    expect(page.locator("#problems p").first).to_contain_text(done)


def control(page: Page, key: str):
    return page.locator("#set-" + key.replace(".", "-").replace("_", "-")).locator("input, textarea").first


def unfold(page: Page, section: str) -> None:
    page.locator(f"#section-{section} button").first.click()


def put(page: Page, **settings) -> None:
    for key, value in settings.items():
        box = control(page, key.replace("__", "."))
        box.fill(str(value))
        box.blur()


def folded_settings(page: Page, *sections: str) -> None:
    for section in sections:
        unfold(page, section)


def config_of(run: rundir.RunDir) -> dict:
    return {key: value for key, value in rundir.read_json(run.config).items() if key not in ("id", "created")}


SMALL = {"train__steps": 3, "data__cases": 20, "data__eval_cases": 4, "checkpoint__steps": 2, "eval__steps": 3}


def fill_small(page: Page, model: Path) -> None:
    folded_settings(page, "data", "checkpoint", "eval")
    put(page, policy=model, name="from the form", **SMALL)
    expect(page.locator("#problems p")).to_contain_text("Ready to start")


def test_a_run_from_the_form_is_the_run_of_the_command_line(fake, model, tmp_path):
    here = fake("done")
    with dashboard(here.folder) as address, opened(address) as page:
        ready(page)
        fill_small(page, model)
        page.locator("#set-train-normalize-reward").get_by_role("checkbox").check()
        unfold(page, "custom_configs")
        page.get_by_role("checkbox", name="dosage").uncheck()
        page.get_by_role("checkbox", name="diagnosis").uncheck()
        page.get_by_role("checkbox", name="dosage").check()
        expect(page.locator("#shown-line textarea")).to_have_value(re.compile("error_types.*dosage.*contraindication"))
        started = time.monotonic()
        page.get_by_role("button", name="Start Training").click()
        expect(page.get_by_role("tab", name="Live")).to_have_attribute("aria-selected", "true")
        print(f"from the click to Live: {time.monotonic() - started:.2f} s")
        (run,) = rundir.every(here.folder)
        expect(page.locator(".so-status")).to_have_attribute("data-run", run.id)
        page.get_by_role("tab", name="Run").click()
        line = page.locator("#shown-line textarea").input_value()
    here.wait(run)
    assert rundir.read_json(run.state)["state"] == "done"

    other = tmp_path / "other"
    given = ["preset=cpu-demo", "policy=" + str(model), "name=from the form", "train.normalize_reward=true",
             'custom_configs.error_types=["dosage","contraindication","management","drug_interaction"]',
             *(f"{key.replace('__', '.')}={value}" for key, value in SMALL.items())]  # fmt: skip
    words = [word for one in given[1:] for word in ("--set", one)]
    by_hand = [sys.executable, "-m", "launcher", "run", "--preset", "cpu-demo", *words, "--wait", "--json"]
    shown = [sys.executable, *shlex.split(line)[1:], "--wait", "--json"]
    for argv in (by_hand, shown):
        environment = {**os.environ, "SECOND_OPINION_RUNS": str(other)}
        done = subprocess.run(argv, cwd=PROJECT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert [config_of(one) for one in rundir.every(other)] == [config_of(run)] * 2


def test_a_double_click_starts_one_run_and_another_page_queues_one(fake, model):
    here = fake("hang")
    with dashboard(here.folder) as address, opened(address) as page:
        ready(page)
        fill_small(page, model)
        second = page.context.new_page()
        second.goto(address)
        expect(second.locator("#problems p")).to_contain_text("Ready to start")
        page.get_by_role("button", name="Start Training").dblclick()
        second.get_by_role("button", name="Start Training").dblclick()
        expect(page.get_by_role("tab", name="Live")).to_have_attribute("aria-selected", "true")
        expect(second.locator(".so-facts")).to_contain_text("next in the queue")
        found = rundir.every(here.folder)
        assert sorted(here.look(run).state for run in found) == ["queued", "running"]


def test_a_bad_value_is_said_at_its_field_and_starts_nothing(address, model):
    with opened(address) as page:
        ready(page)
        put(page, policy=model, train__micro_batch_size=24, train__epochs=2)
        box = page.locator("#set-train-micro-batch-size")
        expect(box).to_contain_text("must divide train.batch_size 64")
        expect(box).to_contain_text("Changed from 32")
        expect(page.locator("#section-train")).to_contain_text("train: 2 changed, 1 to put right")
        expect(page.locator("#shown-command textarea")).to_have_value(re.compile("do not fit together"))
        page.get_by_role("button", name="Start Training").click()
        expect(page.locator("#problems")).to_contain_text("1 to put right before the start")
        assert control(page, "train.epochs").input_value() == "2"
        put(page, train__micro_batch_size="")
        expect(box).to_contain_text("Input should be a valid integer")
        control(page, "train.micro_batch_size").fill("16")
        expect(page.locator("#problems p")).to_have_text("Preflight: not done yet.")
        control(page, "train.micro_batch_size").blur()
        expect(page.locator("#problems p")).to_contain_text("Ready to start")
        expect(page.locator("#shown-command textarea")).to_have_value(re.compile("--train.micro_batch_size 16 "))
        page.get_by_role("button", name="Reset train").click()
        expect(control(page, "train.micro_batch_size")).to_have_value("32")
        expect(control(page, "policy")).to_have_value(str(model))
        page.get_by_role("button", name="Reset all").click()
        expect(control(page, "policy")).to_have_value("demo")


def test_a_preset_fills_folded_sections_and_a_draft_survives_a_reload(address, model):
    with opened(address) as page:
        ready(page)
        page.get_by_label("Preset").click()
        page.get_by_role("option", name="assessor-only").click()
        expect(page.locator("#shown-command textarea")).to_have_value(re.compile("--rollout.n_samples_per_prompt 2 "))
        unfold(page, "rollout")
        expect(control(page, "rollout.samples_per_prompt")).to_have_value("2")
        put(page, rollout__temperature=0.7, name="kept", policy=model)
        page.locator("#set-memory-adam-offload").wait_for(state="detached")
        unfold(page, "memory")
        page.get_by_role("checkbox", name="memory.adam_offload").check()
        expect(page.locator("#section-memory")).to_contain_text("memory: 1 changed")
        page.reload()
        ready(page)
        expect(page.get_by_label("Preset")).to_have_value("assessor-only")
        expect(control(page, "name")).to_have_value("kept")
        expect(control(page, "policy")).to_have_value(str(model))
        unfold(page, "rollout")
        expect(control(page, "rollout.temperature")).to_have_value("0.7")
        expect(control(page, "rollout.samples_per_prompt")).to_have_value("2")
        unfold(page, "memory")
        expect(page.get_by_role("checkbox", name="memory.adam_offload")).to_be_checked()


def test_the_guides_script_fills_the_form(address):
    with opened(address) as page:
        ready(page)
        page.locator("#import button").first.click()
        page.locator("#import input[type=file]").set_input_files(GUIDE)
        expect(page.locator("#script textarea")).to_have_value(GUIDE.read_text(encoding="utf-8"))
        page.get_by_role("button", name="Import", exact=True).click()
        report = page.locator("#imported")
        for flag in set(re.findall(r"--\w+", GUIDE.read_text(encoding="utf-8"))):
            expect(report).to_contain_text(flag)
        expect(control(page, "policy")).to_have_value("Qwen/Qwen2.5-3B-Instruct")
        expect(control(page, "train.learning_rate")).to_have_value("5e-7")
        unfold(page, "data")
        expect(page.locator("#set-data-path")).to_contain_text("is needed for data.source medec")
        put(page, data__path=PROJECT / "tests" / "data" / "broken.csv")
        expect(page.locator("#problems")).to_contain_text("broken.csv:5: unknown error type 'astrology'")
        expect(page.locator("#set-policy")).to_contain_text("HF_HUB_OFFLINE forbids")
        unfold(page, "memory")
        expect(page.get_by_role("combobox", name="memory.attention")).to_have_value("flash_attention_2")
        configs = json.loads(page.locator("#shown-configs textarea").input_value())
        assert configs["error_types"] == ["dosage", "diagnosis", "contraindication", "management"]


def test_hostile_text_stays_text(address):
    script = f"python -m openrlhf.cli.train_ppo_ray --pretrain '{HOSTILE}' --{HOSTILE.replace(' ', '')} 1"
    with opened(address) as page:
        ready(page)
        put(page, policy=HOSTILE, name=HOSTILE)
        expect(page.locator("#set-policy")).to_contain_text("<img src=x onerror=")
        expect(page.locator("#problems")).to_contain_text("${window.hurt=1}{{x}}</script>⟨U+202E⟩")
        page.locator("#import button").first.click()
        page.locator("#script textarea").fill(script)
        page.get_by_role("button", name="Import", exact=True).click()
        expect(page.locator("#imported")).to_contain_text("this flag is not known here")
        page.locator("#script textarea").fill("echo '" + HOSTILE)
        page.get_by_role("button", name="Import", exact=True).click()
        expect(page.locator("#imported")).to_contain_text("is never closed")
        assert page.evaluate("window.hurt") is None
        assert page.locator("#run-body img").count() == 0


def test_no_answer_takes_away_what_is_being_typed(address):
    """Each field left asks for a preflight, whose answers arrive while the next one is typed into."""
    typed = {"policy": "org/some-model-with-a-long-name", "train.steps": "31415", "train.learning_rate": "0.000271828",
             "train.batch_size": "1024", "train.micro_batch_size": "33", "train.epochs": "17"}  # fmt: skip
    with opened(address) as page:
        ready(page)
        answers = []
        page.on("response", lambda one: answers.append(one.url))
        for _ in range(2):
            for key, text in typed.items():
                control(page, key).focus()
                page.keyboard.press("Control+A")
                page.keyboard.type(text, delay=60)
                assert control(page, key).input_value() == text
            assert {key: control(page, key).input_value() for key in typed} == typed
        assert len(answers) > 2 * sum(map(len, typed.values()))
        expect(page.locator("#set-train-epochs")).to_contain_text("Changed from 1")
        expect(control(page, "train.micro_batch_size")).to_have_attribute("aria-invalid", "true")
        assert {key: control(page, key).input_value() for key in typed} == typed


def test_a_phone_and_the_keyboard_reach_everything(address):
    with opened(address, width=390, dark=True) as page:
        ready(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        put(page, train__epochs=3)
        page.get_by_label("Preset").focus()
        page.keyboard.press("Tab")
        page.keyboard.type("by keyboard")
        expect(control(page, "name")).to_have_value("by keyboard")
        expect(control(page, "train.epochs")).to_have_value("3")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "start"


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_accessible(address, dark):
    with opened(address, dark=dark) as page:
        ready(page)
        put(page, train__micro_batch_size=24, train__epochs=2)
        folded_settings(page, *(one.name for one in SECTIONS if one.name not in OPEN))
        expect(page.locator("#set-train-micro-batch-size")).to_contain_text("must divide")
        assert violations(page) == []
