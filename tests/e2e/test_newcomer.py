"""A newcomer's path through the dashboard, in a real browser, with the real engine: start, watch, read, stop, resume.

The README's pictures are of this path: SCREENSHOTS=app/screenshots makes them anew.
"""

import os
import time
from pathlib import Path

import pytest
from browser import dashboard, opened
from playwright.sync_api import Page, expect

from launcher import process, rundir, runs, state
from launcher.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.engine]
STEPS, SAVED = 12, 4
FIRST_STEP, WHOLE = 600_000, 1_200_000
"""Milliseconds that a machine may take to the first step, and to the run's end."""


@pytest.fixture
def folder(engine_python, tmp_path):
    if problem := runs.demo_model.check(runs.DEMO_MODEL_FOLDER):
        pytest.fail(problem)
    yield tmp_path / "runs"
    for run in rundir.every(tmp_path / "runs"):
        process.end(run.id, None)


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.mouse.move(0, 0)
        page.wait_for_timeout(600)
        page.screenshot(path=Path(folder) / f"{name}.png")


def put(page: Page, section: str, value: int) -> None:
    """The section's `steps`; a folded section is opened for it."""
    box = page.locator(f"#set-{section}-steps").locator("input").first
    if not box.is_visible():
        page.locator(f"#section-{section} button").first.click()
    box.fill(str(value))
    box.blur()


def wait_for_curves(page: Page) -> None:
    drawn = "document.querySelector('.so-figure-rewards .so-plot')?.data?.length > 1"
    page.wait_for_function(drawn, timeout=FIRST_STEP)


def click_a_step(page: Page) -> None:
    """On the last point of the rewards, wherever it is drawn by now."""
    at = page.evaluate("""() => {
        const box = document.querySelector('.so-figure-rewards .so-plot'), {xaxis, yaxis} = box._fullLayout
        const {left, top} = box.getBoundingClientRect(), {x} = box.data[0]
        return [left + xaxis._offset + xaxis.d2p(x.at(-1)), top + yaxis._offset + yaxis._length / 2]
    }""")
    page.mouse.click(*at)


def test_from_an_empty_page_to_a_run_that_was_stopped_read_and_finished(folder):
    with dashboard(folder) as address, opened(address) as page:
        status = page.locator("[data-state]").first
        expect(page.get_by_role("tab", name="Run")).to_have_attribute("aria-selected", "true")
        expect(page.locator("#problems")).to_contain_text("nothing stands in the way")
        expect(page.get_by_label("Preset").first).to_have_value("cpu-demo")
        picture(page, "run")
        put(page, "train", STEPS)
        put(page, "checkpoint", SAVED)
        put(page, "eval", STEPS)
        expect(page.locator("#shown-line textarea")).to_have_value(
            f"python -m launcher run --preset cpu-demo --set train.steps={STEPS} "
            f"--set eval.steps={STEPS} --set checkpoint.steps={SAVED}"
        )
        clicked = time.monotonic()
        page.get_by_role("button", name="Start Training").click()
        expect(page.get_by_role("tab", name="Live")).to_have_attribute("aria-selected", "true")
        print(f"Live after {time.monotonic() - clicked:.2f} s")

        wait_for_curves(page)
        print(f"first point after {time.monotonic() - clicked:.1f} s")
        expect(status).not_to_have_attribute("data-step", "0")
        click_a_step(page)
        expect(page.get_by_role("tab", name="Games")).to_have_attribute("aria-selected", "true")
        page.locator("[data-game]").first.click()
        expect(page.get_by_text("same meaning as clean").first).to_be_visible()
        page.wait_for_timeout(1000)
        page.get_by_text("same meaning as clean").first.scroll_into_view_if_needed()
        picture(page, "game")

        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("button", name="After the next checkpoint").click()
        expect(status).to_have_attribute("data-state", "stopped", timeout=WHOLE)
        stopped = int(status.get_attribute("data-step"))
        assert SAVED <= stopped < STEPS
        page.get_by_role("button", name="Resume", exact=True).first.click()
        expect(status).to_have_attribute("data-state", "done", timeout=WHOLE)
        assert status.get_attribute("data-step") == str(STEPS)
        page.get_by_role("tab", name="Live").click()
        wait_for_curves(page)
        picture(page, "live")

    (run,) = rundir.every(folder)
    now = state.read(run)
    assert (now.state, now.step, now.attempts) == ("done", STEPS, (0, stopped - stopped % SAVED))
    with Store(folder / "runs.db") as store:
        assert [step for step, _ in store.series(run.id, "reward", 0)] == list(range(1, STEPS + 1))
