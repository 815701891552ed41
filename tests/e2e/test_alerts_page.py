"""Alerts in a real browser: in the bar, in the title and on Live, after a reload too; their links show what tells."""

import os
import time
from dataclasses import replace

import pytest
from browser import dashboard, opened, violations
from playwright.sync_api import expect

from launcher import process
from launcher.config import resolve
from launcher.health_watch import Watch
from launcher.ingest import ingest
from launcher.rundir import RunDir, write_json
from launcher.state import State
from launcher.store import Store
from medical_team.types import Label
from tests import played

pytestmark = pytest.mark.e2e


def collapsed(runs, id="20260102-030405-abcd") -> RunDir:
    """A run that has ended with an assessor that answers Harmful alone, and whose notes were copies for a while."""
    run = RunDir(runs / id)
    run.games.mkdir(parents=True)
    config = resolve("cpu-demo")
    write_json(run.config, {"id": id, "created": 900.0} | config.model_dump(mode="json"))
    well = played.Play(games=16)
    with Store(runs / "runs.db") as store:
        watch = Watch(run, config, store)
        for step in range(1, 21):
            play = (
                replace(well, copies=0.95) if step < 6 else replace(well, always=Label.HARMFUL) if step > 12 else well
            )
            played.step(run, step, play)
            ingest(store, run.path)
            watch.next_look = 0.0
            watch.look(State(steps=20, step=step, started=0.0, last_event=0.0))
        watch.close(20)
    ended = State(
        state="done", phase="done", step=20, steps=20, started=900.0, ended=1500.0, last_event=1500.0, reason="done"
    )
    write_json(run.state, ended.model_dump(mode="json"))
    return run


WELL, HEALTHY = played.Play(games=32), 8

ON_PURPOSE = {
    "one label always": replace(WELL, always=Label.HARMFUL),
    "length collapse": replace(WELL, thinking=0),
    "copied notes": replace(WELL, copies=0.95),
}


class Running:
    """A run that goes on as long as the test does, which stands in for its supervisor."""

    def __init__(self, runs, store: Store):
        self.run, self.store = RunDir(runs / "20260102-030405-beef"), store
        self.run.games.mkdir(parents=True)
        config = resolve("cpu-demo")
        write_json(self.run.config, {"id": self.run.id, "created": 900.0} | config.model_dump(mode="json"))
        self.watch = Watch(self.run, config, store)

    def step(self, number: int, play: played.Play) -> None:
        played.step(self.run, number, play)
        ingest(self.store, self.run.path)
        now = time.time()
        reached = State(
            phase="training", step=number, steps=60, started=now - 60, last_event=now, boot=process.boot(),
            supervisor=process.identify(os.getpid()),
        )  # fmt: skip
        self.watch.next_look = 0.0
        self.watch.look(reached)
        write_json(self.run.state, reached.model_dump(mode="json"))
        ingest(self.store, self.run.path)


@pytest.mark.parametrize("what", ON_PURPOSE)
def test_a_collapse_on_purpose_is_on_the_open_page_within_five_steps(tmp_path, what):
    with Store(tmp_path / "runs.db") as store:
        running = Running(tmp_path, store)
        running.step(1, WELL)
        path = f"?tab=live&run={running.run.id}"
        with dashboard(tmp_path) as address, opened(address, path=path) as page:
            for number in range(2, HEALTHY + 1):
                running.step(number, WELL)
            page.wait_for_selector(f".so-status[data-step='{HEALTHY}']")
            assert page.locator(".so-alarms li").count() == 0
            for number in range(HEALTHY + 1, HEALTHY + 6):
                running.step(number, ON_PURPOSE[what])
            page.locator(".so-alarms li").filter(has_text=f"{what}: ").wait_for()
            row = page.locator(".so-alerts tbody tr").filter(has_text=f"{what}: ")
            assert row.count() == 1 and "still so" in row.inner_text()
            assert HEALTHY < int(row.locator("td").nth(1).inner_text()) <= HEALTHY + 5


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    runs = tmp_path_factory.mktemp("alerts")
    collapsed(runs)
    with dashboard(runs) as found:
        yield found


def test_an_alert_is_in_the_bar_the_title_and_on_live_and_a_reload_keeps_it(address):
    with opened(address, path="?tab=live&run=20260102-030405-abcd") as page:
        for _ in range(2):
            page.wait_for_selector(".so-alarms li")
            assert page.locator(".so-alarms li").all_inner_texts()[0].startswith("one label always: ")
            assert page.title() == "(1) one label always · Second Opinion"
            rows = page.locator(".so-alerts tbody tr")
            assert rows.count() == 2
            assert "still so" in rows.nth(0).inner_text() and "copied notes" in rows.nth(1).inner_text()
            assert "still so" not in rows.nth(1).inner_text()
            page.reload()
        page.wait_for_selector(".so-alarms li")
        page.wait_for_function("!document.querySelector('h2:empty')")
        assert violations(page) == []


def test_an_alerts_link_opens_the_games_that_show_it(address):
    with opened(address, path="?tab=live&run=20260102-030405-abcd") as page:
        page.locator(".so-alarms a").first.click()
        page.wait_for_selector("[data-game]")
        page.get_by_text("More filters").click()
        expect(page.get_by_label("Answer", exact=True)).to_have_value("Harmful")
        first, last = (int(page.get_by_label(name).input_value()) for name in ("From step", "To step"))
        assert 9 <= first < last <= 20


def test_a_link_to_a_plot_leads_to_it(address):
    with opened(address, path="?tab=live&run=20260102-030405-abcd&plot=gradient") as page:
        page.wait_for_function(
            "(() => { const box = document.querySelector('.so-figure-gradient')?.getBoundingClientRect();"
            " return box && box.top >= 0 && box.bottom <= innerHeight; })()"
        )


@pytest.mark.parametrize(
    "query", ["step=many", "category=none", "mode=x'; DROP TABLE games", "lowest=<b>", "step=99999999999999999999"]
)
def test_a_link_that_asks_for_what_there_is_not_opens_all_games(address, query):
    with opened(address, path=f"?tab=games&run=20260102-030405-abcd&{query}") as page:
        page.wait_for_selector("[data-game]")
