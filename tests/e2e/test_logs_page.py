"""The page Logs in Chromium, while a run is going on."""

import os

import pytest
import written_run
from browser import dashboard, opened
from playwright.sync_api import expect

from launcher import process, state

pytestmark = pytest.mark.e2e
ID = "20260102-030405-abcd"


@pytest.fixture
def run(tmp_path):
    """A run that looks alive, because its processes are this one."""
    written = written_run.write(tmp_path / "runs", ID, steps=60)
    me = process.identify(os.getpid())
    changes = {"state": "running", "ended": None, "supervisor": me, "trainer": me}
    state.write(written, state.read(written).model_copy(update=changes))
    return written


@pytest.fixture
def page(run):
    with dashboard(run.path.parent) as address, opened(address, path=f"?run={ID}&tab=logs") as found:
        expect(found.get_by_role("log")).to_contain_text("Global step 60")
        yield found


def say(run, text):
    with run.log(1).open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")


def below(page) -> float:
    """Pixels of the log below what is seen of it."""
    return page.get_by_role("log").evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight")


def test_new_lines_come_by_themselves_and_the_end_stays_in_sight(page, run):
    say(run, "said just now")
    expect(page.get_by_text("said just now")).to_be_in_viewport()
    assert below(page) < 30


def test_scrolling_up_ends_following(page, run):
    page.get_by_role("log").hover()
    page.mouse.wheel(0, -300)
    expect(page.get_by_label("Follow the end")).not_to_be_checked()
    say(run, "said unseen")
    page.wait_for_timeout(2500)
    expect(page.get_by_text("said unseen")).to_have_count(0)
    page.get_by_label("Follow the end").check()
    expect(page.get_by_text("said unseen")).to_be_in_viewport()


def test_an_unseen_log_is_not_asked_for(page):
    page.get_by_role("tab", name="Games").click()
    expect(page.get_by_role("log")).to_be_hidden()
    page.wait_for_timeout(1500)
    asked = []
    page.on("request", lambda request: asked.append(request) if "run/predict" in request.url else None)
    page.wait_for_timeout(3000)
    assert not asked
