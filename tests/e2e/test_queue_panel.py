"""The queue on the page History, in Chromium."""

import pytest
from browser import dashboard, opened, violations
from playwright.sync_api import expect
from test_queue import begun, line
from test_supervise import start

pytestmark = pytest.mark.e2e


def test_the_queue_is_shown_moved_with_the_keyboard_and_left(fake):
    here = fake("hang")
    has = start(here)
    begun(here, has)
    one, two = start(here, name="<img src=x onerror=alert(1)>"), start(here, name="two")
    with dashboard(here.folder) as address, opened(address, path=f"?tab=history&run={one.id}") as page:
        panel = page.get_by_role("region", name="Queue")
        expect(panel.locator("tbody tr")).to_have_count(2)
        expect(panel.locator("tbody tr").first).to_contain_text("<img src=x onerror=alert(1)>")
        expect(page.locator(".so-facts")).to_contain_text("next in the queue")
        expect(panel.get_by_role("button", name=f"up: {one.id}")).to_be_disabled()
        assert violations(page) == []
        panel.get_by_role("button", name=f"up: {two.id}").focus()
        page.keyboard.press("Enter")
        expect(panel.locator("tbody tr").first).to_contain_text(two.id)
        assert line(here) == [two.id, one.id]
        expect(panel.get_by_role("button", name=f"down: {two.id}")).to_be_focused()  # as up can go no further
        for run in (one, two):
            panel.get_by_role("button", name=f"withdraw: {run.id}").press("Enter")
            expect(panel.get_by_role("button", name=f"withdraw: {run.id}")).to_have_count(0)
        expect(panel).to_be_hidden()
    assert line(here) == [] and here.look(has).state == "running"
