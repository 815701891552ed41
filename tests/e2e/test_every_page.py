"""Every page by axe-core, light and dark, wide and narrow; a hidden tab, which asks for nothing; alerts that mean harm."""

import json
from contextlib import ExitStack

import pytest
import written_run
from browser import dashboard, opened, violations, wait_until
from playwright.sync_api import expect

from app.shared import TABS
from launcher.health import Kind

pytestmark = pytest.mark.e2e
ID = "20260102-030405-abcd"
SHOWN = {
    "run": "#problems p", "live": ".so-latest li", "games": ".one-game h3",
    "judge": "#judge .so-note h3", "evaluate": "#pages", "logs": ".log li", "history": ".runs tbody tr",
}  # fmt: skip
"""What stands on each page once it is filled in."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A dashboard over a run with hostile texts everywhere, an alert that is open, and one that is over."""
    folder = tmp_path_factory.mktemp("runs")
    games = [written_run.game(ID, number, 1 + number % 3, written_run.HOSTILE) for number in range(12)]
    run = written_run.write(folder, ID, games, name=f"n {written_run.IMAGE}", error=f"lost {written_run.HOSTILE}")
    lines = []
    for number, (what, change) in enumerate(
        ((Kind.JUDGE, "raised"), (Kind.COPIED, "raised"), (Kind.COPIED, "cleared"))
    ):
        lines.append({
            "time": 1000.0 + number, "kind": "alert", "level": "warning", "text": f"{what}: {written_run.HOSTILE}",
            "alert": f"{what.name.lower()}-1", "what": what, "step": 2, "link": f"/?run={ID}&tab=games", "change": change,
        })  # fmt: skip
    run.events.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    with dashboard(folder) as found:
        yield found


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)], ids=["wide-light", "narrow-dark"])
@pytest.mark.parametrize("tab", TABS)
def test_a_page_is_accessible_and_no_wider_than_the_window(address, tab, width, dark):
    with opened(address, width=width, dark=dark, path=f"?run={ID}&tab={tab}&game=g-1") as page:
        expect(page.locator(SHOWN[tab]).first).to_be_visible()
        page.wait_for_function("!document.querySelector('h2:empty')")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_hidden_tab_asks_for_nothing(address):
    """Each page in a tab of its own, all hidden at once: what is waited for is waited for once."""
    sent = {tab: [] for tab in TABS}
    with ExitStack() as tabs:
        for tab in TABS:
            page = tabs.enter_context(opened(address, path=f"?run={ID}&tab={tab}&game=g-1"))
            expect(page.locator(SHOWN[tab]).first).to_be_visible()
            page.on("request", lambda one, tab=tab: sent[tab].append(one.url))
            wait_until(page, lambda tab=tab: sent[tab])  # the status bar asks while it is seen, or this shows nothing
            page.evaluate("""() => {
                Object.defineProperty(document, 'hidden', {configurable: true, get: () => true});
                Object.defineProperty(document, 'visibilityState', {configurable: true, get: () => 'hidden'});
                document.dispatchEvent(new Event('visibilitychange'));
            }""")
        page.wait_for_timeout(2000)
        for urls in sent.values():
            urls.clear()
        page.wait_for_timeout(5000)
        assert {tab: [url for url in urls if "heartbeat" not in url] for tab, urls in sent.items()} == {
            tab: [] for tab in TABS
        }


def test_an_alerts_text_is_shown_and_nothing_of_it_runs(address):
    with opened(address, path=f"?run={ID}&tab=live") as page:
        said = []
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        for place in (page.locator(".so-alarms li"), page.locator(".so-alerts tbody tr")):
            expect(place.first).to_contain_text("<img src=x onerror=")
            expect(place.first).to_contain_text("${alert('template')} {{x}}")
            assert place.locator("img, script, svg, textarea").count() == 0
        assert page.locator(".so-alarms li").count() == 1 and page.locator(".so-alerts tbody tr").count() == 2
        assert "<img" not in page.title() and not said
