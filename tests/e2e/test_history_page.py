"""The page History in Chromium; and the report that it writes, opened from the disk."""

import json
import os
import zipfile
from contextlib import contextmanager

import pytest
import written_run
from browser import dashboard, opened
from playwright.sync_api import expect

from launcher import process, state
from launcher.rundir import RunDir

pytestmark = pytest.mark.e2e
FIRST, SECOND, THIRD = "20260102-030405-abcd", "20260203-040506-bcde", "20260304-050607-cdef"


def written(folder):
    written_run.write(folder, FIRST, name=f"one {written_run.HOSTILE[:150]}", train__learning_rate=0.001)
    written_run.write(folder, SECOND, name="two", state="stopped", train__learning_rate=0.002)
    written_run.write(folder, THIRD, name="three")
    return folder


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A dashboard for the tests that change no run."""
    with dashboard(written(tmp_path_factory.mktemp("looked-at") / "runs")) as found:
        yield found


@pytest.fixture
def page(address):
    with shown(address) as found:
        yield found


@pytest.fixture
def runs(tmp_path):
    return written(tmp_path / "runs")


@pytest.fixture
def changing(runs):
    """The page over runs of its own."""
    with dashboard(runs) as address, shown(address) as found:
        yield found


@contextmanager
def shown(address):
    said = []
    with opened(address, path="?tab=history") as found:
        found.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        expect(found.locator(".runs tbody tr")).to_have_count(3)
        yield found
    assert not said, f"a text was executed: {said}"


def pick(page, id):
    page.get_by_role("button", name=id, exact=True).click()
    expect(page.get_by_role("button", name="Save notes")).to_be_visible()


def test_runs_are_listed_with_their_curves(page):
    row = page.locator(".runs tbody tr").last
    for text in (FIRST, "done", "3 of 3", "cpu-demo", "10 min 0 s", "<img src=x onerror"):
        expect(row).to_contain_text(text)
    expect(row.locator("svg polyline")).to_have_count(1)
    expect(page.locator("img")).to_have_count(0)


def test_runs_are_found_by_words_state_and_tag(page):
    page.get_by_label("Find runs").fill("two")
    expect(page.locator(".runs tbody tr")).to_have_count(1)
    page.get_by_label("Find runs").fill("nothing like it")
    expect(page.get_by_text("No run passes this filter.")).to_be_visible()
    page.get_by_label("Find runs").fill("")
    expect(page.locator(".runs tbody tr")).to_have_count(3)
    page.get_by_label("State").click()
    page.get_by_role("option", name="stopped", exact=True).click()
    expect(page.locator(".runs tbody tr")).to_have_count(1)


def test_notes_and_tags_are_kept_as_they_were_written(changing, runs):
    page = changing
    pick(page, SECOND)
    page.get_by_label("Notes").fill(f"line one\n{written_run.HOSTILE}")
    page.get_by_label("Tags, with commas between them").fill(f"good, {written_run.IMAGE}")
    page.get_by_role("button", name="Save notes").click()
    expect(page.locator(".runs .tag")).to_have_count(2)
    kept = json.loads((runs / SECOND / "notes.json").read_text(encoding="utf-8"))
    assert kept["notes"].startswith("line one\n<img src=x") and kept["tags"] == sorted(["good", written_run.IMAGE])
    pick(page, FIRST)
    expect(page.get_by_label("Notes")).to_have_value("")
    pick(page, SECOND)
    expect(page.get_by_label("Notes")).to_have_value(kept["notes"])
    expect(page.locator("img")).to_have_count(0)


def test_runs_are_compared(page):
    for id in (FIRST, SECOND):
        page.get_by_role("button", name=f"to compare {id}").click()
        expect(page.get_by_role("button", name=f"to compare {id}")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".chart")).to_have_count(2)
    expect(page.locator(".chart").first.locator("li")).to_have_count(2)
    row = page.get_by_role("row").filter(has_text="train.learning_rate")
    expect(row).to_contain_text("0.001")
    expect(row).to_contain_text("0.002")
    expect(page.get_by_role("row").filter(has_text="train.batch_size")).to_have_count(0)


def test_a_run_is_deleted_only_after_it_was_asked(changing, runs):
    page = changing
    pick(page, SECOND)
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text=SECOND)).to_be_visible()
    page.get_by_role("button", name="Keep it").click()
    assert (runs / SECOND).exists()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.locator(".runs tbody tr")).to_have_count(2)
    assert not (runs / SECOND).exists() and (runs / FIRST).exists()


def test_a_run_that_is_going_on_is_not_deleted(changing, runs):
    page = changing
    pick(page, SECOND)
    run = RunDir(runs / SECOND)
    me = process.identify(os.getpid())
    changes = {"state": "running", "ended": None, "supervisor": me, "trainer": me}
    state.write(run, state.read(run).model_copy(update=changes))
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("is running; stop it first")).to_be_visible()
    assert run.config.exists()


def test_an_export_has_the_tables_and_a_report_that_opens_alone(page, tmp_path):
    pick(page, FIRST)
    page.get_by_role("button", name="Export", exact=True).click()
    saved = {}
    for name in (f"{FIRST}.zip", f"{FIRST}.html"):
        with page.expect_download() as download:
            page.get_by_role("link").filter(has=page.locator(f"xpath=self::*[contains(@download, '{name}')]")).click()
        saved[name] = tmp_path / name
        download.value.save_as(saved[name])
    with zipfile.ZipFile(saved[f"{FIRST}.zip"]) as packed:
        assert f"{FIRST}/rewards.csv" in packed.namelist()
    report, asked = page.context.new_page(), []
    report.on("request", lambda request: asked.append(request.url))
    report.goto(saved[f"{FIRST}.html"].as_uri())
    expect(report.get_by_role("heading", name="Curves")).to_be_visible()
    assert report.locator("svg polyline").count() > 5
    assert report.locator("img, script").count() == 0
    assert "CC BY 4.0" in report.inner_text("body")
    assert asked == [report.url]


def test_settings_are_cloned_into_the_run_page(page):
    pick(page, SECOND)
    page.get_by_role("button", name="Clone settings").click()
    expect(page.get_by_role("tab", name="Run")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#set-train-learning-rate input")).to_have_value("0.002")
    expect(page.locator("#set-name").get_by_role("textbox")).to_have_value("two")
