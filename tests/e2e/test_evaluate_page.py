"""The page Evaluate in Chromium, with a worker that needs no model."""

import csv
import json
import sys
from pathlib import Path

import pytest
from browser import dashboard, opened, violations
from playwright.sync_api import expect

from launcher import engine, evaluation_work, evaluations
from launcher.evaluations import Request
from launcher.rundir import write_json
from launcher.runs import Runs

pytestmark = pytest.mark.e2e
PROJECT = Path(__file__).parent.parent.parent
HOSTILE = "wise <img src=x onerror=alert(1)>"


@pytest.fixture
def here(tmp_path):
    """Runs folder, two folders that pass for models, and the variables of a dashboard whose worker is a stand-in."""
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\n" + (PROJECT / "tests" / "fake_worker.py").read_text(encoding="utf-8"))
    script.chmod(0o755)
    for name in ("plain", HOSTILE):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "config.json", {"model_type": "fake"})
    (tmp_path / "runs").mkdir()
    versions = json.dumps(engine.pins(engine.lock("cpu")))
    return tmp_path, {"ENGINE_PYTHON": str(script), "FAKE_VERSIONS": versions, "FAKE_WORKER": "done"}


def fill(page, here: Path) -> None:
    for label, value in (("Before", str(here / "plain")), ("After", str(here / HOSTILE))):
        box = page.get_by_label(label, exact=True)
        box.fill(value)
        box.press("Enter")
    page.get_by_label("Cases of the demo").fill("10")
    page.get_by_role("button", name="Evaluate").click()


def test_two_models_are_compared_and_the_numbers_exported(here):
    folder, variables = here
    with dashboard(folder / "runs", **variables) as address, opened(address, path="?tab=evaluate") as page:
        expect(page.locator("#evaluation")).to_contain_text("No evaluation yet")
        fill(page, folder)
        shown = page.locator("#evaluation")
        expect(shown.get_by_role("heading", name="Before and after")).to_be_visible()
        expect(shown).to_contain_text("10 harmful notes and 10 safe ones")
        row = shown.locator("tr", has=page.get_by_text("accuracy", exact=True)).first
        expect(row).to_contain_text("0.500 [0.237, 0.763]")
        expect(row).to_contain_text("1.000 [0.722, 1.000]")
        expect(shown).to_contain_text("+0.500")
        assert page.locator("#evaluation img").count() == 0 and shown.get_by_text("<img src=x").count() > 0
        page.get_by_role("button", name="One measure across all evaluations").click()
        expect(page.locator("#across tbody tr")).to_have_count(2 * 2 + 3)
        page.get_by_role("button", name="Export").click()
        link = page.locator("a[href$='predictions.csv']").first
        expect(link).to_be_visible()
        with page.expect_download() as download:
            link.click()
        said = list(csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines()))
        assert len(said) == 2 * 2 * 20 and {one["answer"] for one in said} == {"Harmful", "Safe"}


def test_progress_is_shown_and_stop_stops(here):
    folder, variables = here
    with dashboard(folder / "runs", **variables | {"FAKE_WORKER": "hang"}) as address:
        with opened(address, path="?tab=evaluate") as page:
            fill(page, folder)
            expect(page.locator("#evaluation progress")).to_be_visible()
            expect(page.locator("#evaluation")).to_contain_text("0 of 80 replies; the first one reads")
        with opened(address, path="?tab=evaluate") as page:  # it went on without the page
            expect(page.locator("#evaluation progress")).to_be_visible()
            page.locator("#evaluate-stop").click()
            expect(page.locator("#evaluation [role=alert]")).to_have_text("stopped as asked")
            expect(page.locator("#evaluate-stop")).to_be_disabled()


def test_what_cannot_be_evaluated_is_said_beside_the_button(here):
    folder, variables = here
    with dashboard(folder / "runs", **variables) as address, opened(address, path="?tab=evaluate") as page:
        page.get_by_label("Before", exact=True).fill("<b>nothing</b> at all")
        page.get_by_label("Before", exact=True).press("Enter")
        page.get_by_role("button", name="Evaluate").click()
        expect(page.get_by_role("alert").filter(has_text="is no run, no checkpoint")).to_be_visible()
        page.get_by_label("Before", exact=True).fill(str(folder / "plain"))
        page.get_by_label("Before", exact=True).press("Enter")
        page.locator("#evaluate-data :is(input, textarea)").fill(str(folder / "none.csv"))
        page.get_by_role("button", name="Evaluate").click()
        expect(page.get_by_role("alert").filter(has_text="none.csv")).to_be_visible()
    assert evaluations.every(Runs(folder / "runs")) == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_accessible_and_fits_a_phone(here, monkeypatch, dark):
    folder, variables = here
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    runs = Runs(folder / "runs")
    one = evaluations.create(runs, Request(models=(str(folder / "plain"), str(folder / HOSTILE)), cases=5))
    assert evaluation_work.work(runs, one).state == "done"
    with (
        dashboard(folder / "runs", **variables) as address,
        opened(address, 390, dark=dark, path="?tab=evaluate") as page,
    ):
        expect(page.locator("#evaluation h2")).to_be_visible()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
