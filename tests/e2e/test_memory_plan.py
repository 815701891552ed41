"""The memory plan in the form of a run, in a real browser, on a machine without a GPU."""

import re

import pytest
from browser import dashboard, opened, violations
from conftest import fake_engine
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    with dashboard(folder / "runs", **fake_engine(folder)) as found:
        yield found


def choose(page: Page, preset: str) -> None:
    expect(page.locator("#problems p").first).to_be_visible()
    page.locator("#preset input").click()
    page.get_by_role("option", name=preset, exact=True).click()
    expect(page.locator("#memory-plan")).to_be_visible()


def verdict(page: Page):
    return page.locator("#memory-bars [role=status]")


def test_a_cpu_run_has_no_plan_and_a_gpu_preset_has_bars_for_the_gpu_that_is_named(address):
    with opened(address) as page:
        expect(page.locator("#problems p").first).to_be_visible()
        expect(page.locator("#memory-plan")).not_to_be_visible()
        choose(page, "guide-single-gpu")
        expect(page.locator("#memory-bars")).to_contain_text("Give the memory of the GPU")
        page.locator("#gpu-gb input").fill("80")
        expect(verdict(page)).to_have_text(re.compile(r"^Fits: at most [\d.]+ of 79.2 GiB, in \w+\.$"))
        expect(page.locator("#memory-bars .mem-row")).to_have_count(4)


def test_a_click_on_advice_fills_in_the_field_until_the_run_fits(address):
    with opened(address) as page:
        choose(page, "single-gpu-80gb")
        page.locator("#gpu-gb input").fill("48")
        expect(verdict(page)).to_contain_text("Does not fit")
        bar = page.locator("#memory-bars .mem-row", has_text="training")
        line, last = bar.locator(".mem-limit").bounding_box(), bar.locator(".seg").last.bounding_box()
        assert last["x"] + last["width"] > line["x"]  # it goes beyond the GPU
        page.get_by_role("button", name="Set memory.adam_stream to on").click()
        expect(verdict(page)).to_contain_text("Fits")
        page.locator("#section-memory button").first.click()
        box = page.locator("#set-memory-adam-stream").get_by_role("checkbox")
        expect(box).to_be_checked()
        box.uncheck()
        expect(verdict(page)).to_contain_text("Does not fit")  # what is changed in the form is in the plan at once


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_plan_is_readable_narrow_and_dark(address, width, dark):
    with opened(address, width=width, dark=dark) as page:
        choose(page, "guide-single-gpu")
        page.locator("#gpu-gb input").fill("48")
        expect(verdict(page)).to_contain_text("Does not fit")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        drawn = {
            seg: page.locator(f"#memory-bars .mem-track .{seg}").first.evaluate(
                "e => getComputedStyle(e).backgroundImage"
            )
            for seg in ("policy", "reference", "rollout")
        }
        assert len(set(drawn.values())) == 3  # told apart by their patterns, not by colour alone
        assert violations(page) == []
