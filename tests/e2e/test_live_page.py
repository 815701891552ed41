"""The status bar and the page Live in a real browser, over run folders that are written here and over the fake engine."""

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from browser import dashboard, opened, wait_until
from playwright.sync_api import expect
from plotly import graph_objects
from test_app import add_step, make
from test_store import attacked, game
from test_supervise import start, until

from app.live_chart import PLOTS
from launcher import rundir, state
from launcher.runs import Runs
from launcher.store import Store

pytestmark = pytest.mark.e2e
HOSTILE = '<img src=x onerror="window.hacked=1">${alert(1)}{{x}}</script>'


def games(step):
    return [attacked(f"a{step}", step, attacker=step % 3, deceived=step % 2 == 0), game(f"b{step}", step)]


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A live run of 40 steps, and its store."""
    here = Runs(tmp_path_factory.mktemp("live") / "runs")
    here.folder.mkdir()
    with Store(here.store_path) as store:
        run = make(here, steps=2000)
        for step in range(1, 41):
            add_step(run, store, step, games(step))
        yield run, store


@pytest.fixture(scope="module")
def address(live):
    run, _ = live
    with dashboard(run.path.parent) as found:
        yield found


@pytest.fixture
def growing(live):
    """The live run, which a thread takes further, four steps a second, for as long as the test lasts."""
    run, store = live
    enough = threading.Event()

    def grow():
        step = state.read(run).step
        while not enough.wait(0.25):
            step += 1
            rundir.append_line(run.memory, {
                "time": time.time(), "phase": "generating", "source": "pss", "total_mb": 300.0,
                "processes": [{"pid": 1, "name": "x", "role": "policy", "mb": 300.0}],
            })  # fmt: skip
            add_step(run, store, step, games(step))

    thread = threading.Thread(target=grow)
    thread.start()
    yield run
    enough.set()
    thread.join()


def refreshes(page):
    """The bodies of the requests for new points that the page has sent since."""
    sent = []
    page.on("request", lambda one: sent.append(one.post_data) if one.url.endswith("/second-opinion/points") else None)
    return sent


def shown_range(page):
    return page.evaluate("document.querySelector('.so-figure-rewards .so-plot').layout.xaxis.range.map(Number)")


def last_point(page):
    return page.evaluate("document.querySelector('.so-figure-rewards .so-plot').data.at(-1).x.at(-1)")


def wait_for_curves(page):
    page.wait_for_function("document.querySelector('.so-figure-rewards .so-plot')?.data?.length > 1")


def test_a_zoom_is_kept_over_a_hundred_refreshes_and_a_hidden_tab_asks_for_nothing(growing, address):
    with opened(address) as page:
        expect(page.get_by_role("tab", name="Live")).to_have_attribute("aria-selected", "true")
        wait_for_curves(page)
        before = last_point(page)
        box = page.locator(".so-figure-rewards .nsewdrag").bounding_box()
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] * 0.2, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.5, middle, steps=5)
        page.mouse.up()
        zoomed = shown_range(page)
        assert 0 < zoomed[0] < zoomed[1] < before
        page.evaluate("window.plot = document.querySelector('.so-figure-rewards .so-plot')")
        sent = refreshes(page)
        wait_until(page, lambda: len(sent) >= 100, 600.0)
        wait_until(page, lambda: last_point(page) > before + 20)
        assert shown_range(page) == zoomed
        assert page.evaluate("window.plot === document.querySelector('.so-figure-rewards .so-plot')")
        assert page.evaluate("Math.max(...window.plot.data.at(-1).x.map((x, i, all) => i ? x - all[i - 1] : 1))") == 1
        page.get_by_role("tab", name="Games").click()
        expect(page.locator(".so-figure-rewards")).to_be_hidden()
        page.wait_for_timeout(500)
        sent.clear()
        page.wait_for_timeout(2500)
        assert sent == []
        page.get_by_role("tab", name="Live").click()
        wait_until(page, lambda: len(sent) > 1)  # the second is asked for after the answer to the first was drawn
        assert shown_range(page) == zoomed


def test_the_status_bar_and_the_cards_follow_the_run(growing, address):
    with opened(address) as page:
        bar = page.locator(".so-status")
        expect(bar).to_have_attribute("data-state", "generating")
        before = int(bar.get_attribute("data-step"))
        page.wait_for_function(f"Number(document.querySelector('.so-status').dataset.step) > {before + 5}")
        expect(bar).to_contain_text("of 2000")
        expect(bar).to_contain_text("2.0 s a step")
        expect(page.get_by_role("button", name="Stop", exact=True)).to_be_enabled()
        expect(page.locator(".so-card").nth(1)).to_contain_text("Assessor reward")
        expect(page.locator(".so-card b").nth(1)).to_have_text("2.00")
        wait_for_curves(page)
        for control in (page.get_by_label("Axis"), page.get_by_label("Smoothing")):
            expect(control).to_be_visible()
        page.get_by_label("Axis").select_option("hours")
        page.wait_for_function("document.querySelector('.so-figure-rewards .so-plot').data.at(-1).x.at(-1) < 1")
        page.get_by_label("Axis").select_option("clock")
        kind = "document.querySelector('.so-figure-rewards .so-plot').layout.xaxis.type"
        page.wait_for_function(f"{kind} === 'date'")
        page.get_by_label("Axis").select_option("step")
        page.wait_for_function(f"{kind} === 'linear'")
        page.get_by_label("Smoothing").fill("0")
        page.wait_for_function("document.querySelector('.so-figure-rewards .so-plot').data.length === 2")
        page.get_by_role("button", name="Log scale: Reward per turn").click()
        assert page.evaluate("document.querySelector('.so-figure-rewards .so-plot').layout.yaxis.type") == "log"


def labels(page):
    return page.evaluate(
        "document.querySelector('.so-figure-rewards .so-plot').layout.annotations.map(({text}) => text).sort()"
    )


def test_names_stand_at_the_curves_ends_while_the_ends_are_shown(growing, address):
    with opened(address) as page:
        wait_for_curves(page)
        assert labels(page) == ["assessor", "attacker"]
        expect(page.locator(".so-figure-rewards .annotation-text")).to_have_count(2)
        page.evaluate(
            "Plotly.relayout(document.querySelector('.so-figure-rewards .so-plot'), {'xaxis.range': [1, 20]})"
        )
        page.wait_for_function("document.querySelector('.so-figure-rewards .so-plot').layout.annotations.length === 0")


def test_every_plot_is_saved_as_csv_and_png(tmp_path):
    here = Runs(tmp_path / "runs")
    here.folder.mkdir()
    values = {"kl": 0.1, "ppo_kl": 0.1, "policy_loss": 0.2, "actor_grad_norm": 1.0, "eval_all_pass1": 0.5}
    with Store(here.store_path) as store:
        run = make(here)
        memory = {"phase": "training", "source": "pss", "total_mb": 3.0,
                  "processes": [{"pid": 1, "name": "x", "role": "policy", "mb": 3.0}]}  # fmt: skip
        for step in range(1, 5):
            rundir.append_line(run.memory, {"time": time.time()} | memory)
            add_step(run, store, step, games(step), **values)
    with dashboard(here.folder) as address, opened(address, path="?tab=live") as page:
        wait_for_curves(page)
        for plot in PLOTS:
            figure = page.locator(f".so-figure-{plot.id}")
            figure.scroll_into_view_if_needed()
            if plot.id == "evaluations":
                continue
            figure.locator(".so-plot .main-svg").first.wait_for()
            for kind, magic in (("CSV", b"time," if plot.over_time else b"step,"), ("PNG", b"\x89PNG")):
                with page.expect_download() as saved:
                    page.get_by_role("button", name=f"{kind}: {plot.title}", exact=True).click()
                assert Path(saved.value.path()).read_bytes().startswith(magic), plot.id
            log = page.get_by_role("button", name=f"Log scale: {plot.title}", exact=True)
            log.click()
            expect(log).to_have_attribute("aria-pressed", "true")


def test_a_plot_is_saved_as_csv_and_png(growing, address):
    with opened(address) as page:
        wait_for_curves(page)
        with page.expect_download() as saved:
            page.get_by_role("button", name="CSV: Reward per turn").click()
        lines = Path(saved.value.path()).read_text().splitlines()
        assert lines[:2] == ["step,attacker,assessor", "1,1.0,2.0"] and len(lines) > 40
        with page.expect_download() as saved:
            page.get_by_role("button", name="PNG: Reward per turn").click()
        assert Path(saved.value.path()).read_bytes().startswith(b"\x89PNG") and saved.value.suggested_filename.endswith(
            ".png"
        )


def test_plotly_knows_all_that_the_plots_say(growing, address):
    """Its script passes over a misspelt attribute, its Python package names it."""
    figures = """[...document.querySelectorAll('.so-plot')].filter((plot) => plot.data).map((plot) => ({
      data: plot.data.map((trace) => ({...trace, x: Array.from(trace.x), y: Array.from(trace.y)})),
      layout: JSON.parse(JSON.stringify(plot.layout))}))"""
    with opened(address) as page:
        wait_for_curves(page)
        drawn = page.evaluate(figures)
    assert len(drawn) > 2 and all(len(graph_objects.Figure(figure).data) == len(figure["data"]) for figure in drawn)


def test_a_step_opens_its_games(growing, address):
    with opened(address) as page:
        wait_for_curves(page)
        plot = page.locator(".so-figure-rewards .nsewdrag")
        plot.hover()
        plot.click()
        games_tab = page.get_by_role("tab", name="Games")
        expect(games_tab).to_have_attribute("aria-selected", "true")
        page.get_by_role("tab", name="Live").click()
        page.locator("#live").get_by_role("spinbutton", name="Step").fill("7")
        page.get_by_role("button", name="Open its games").click()
        expect(games_tab).to_have_attribute("aria-selected", "true")
        expect(page.get_by_text("a7", exact=True)).to_be_visible()
        expect(page.get_by_text("a8", exact=True)).to_have_count(0)


def test_a_run_is_stopped_and_resumed_from_the_bar(fake):
    here = fake("hang", steps=6)
    run = start(here, train__steps=8)
    until(lambda: here.look(run).step == 6)
    with dashboard(here.folder) as address, opened(address) as page:
        bar, stop = page.locator(".so-status"), page.get_by_role("button", name="Stop", exact=True)
        expect(bar).to_have_attribute("data-step", "6")
        stop.click()
        page.get_by_role("button", name="Keep running").click()
        assert here.look(run).state == "running" and not run.stop.exists()
        stop.click()
        page.get_by_role("button", name="Now", exact=True).click()
        expect(bar).to_have_attribute("data-state", "stopped")
        expect(bar).to_contain_text("stopped as asked")
        expect(stop).to_be_disabled()
        page.get_by_role("button", name="Resume").click()
        page.wait_for_function("document.querySelector('.so-status').dataset.state !== 'stopped'")
        expect(bar).to_contain_text("start 2")
        expect(stop).to_be_enabled()
        stop.click()
        page.get_by_role("button", name="Now", exact=True).click()
        expect(bar).to_have_attribute("data-state", "stopped")


def test_a_crash_is_the_first_thing_to_be_seen(fake):
    here = fake("raise")
    run = start(here, name=HOSTILE)
    here.wait(run)
    with dashboard(here.folder) as address, opened(address) as page:
        expect(page.get_by_role("tab", name="Live")).to_have_attribute("aria-selected", "true")
        expect(page.locator(".so-status")).to_have_attribute("data-state", "crashed")
        expect(page.locator(".so-reason")).to_contain_text("ValueError: the reward was lost")
        expect(page.locator(".so-tail")).to_contain_text("Traceback (most recent call last)")
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
        assert HOSTILE in page.locator(".so-run option").inner_text()
        assert page.evaluate("window.hacked") is None


def test_a_page_that_lost_the_dashboard_says_so_and_not_that_the_run_failed(growing):
    with ExitStack() as serving:
        address = serving.enter_context(dashboard(growing.path.parent))
        with opened(address) as page:
            expect(page.locator(".so-status")).to_have_attribute("data-state", "generating")
            serving.close()
            expect(page.get_by_text("This page has lost the dashboard")).to_be_visible()
            expect(page.locator(".so-status")).to_have_attribute("data-state", "generating")


def test_without_runs_the_page_says_what_will_come(tmp_path):
    with dashboard(tmp_path) as address, opened(address, path="?tab=live") as page:
        expect(page.locator(".so-status")).to_have_attribute("data-state", "none")
        expect(page.get_by_text("No run yet. Start one on the page Run")).to_be_visible()
        expect(page.get_by_text("Comes with the first finished step.").first).to_be_visible()


def test_with_a_login_nothing_is_told_or_done_without_it(tmp_path):
    with dashboard(tmp_path, "--user", "me", SECOND_OPINION_PASSWORD="secret") as address:
        body = {"data": {"run": "", "when": "now"}, "component_id": 5, "fn_name": "stop", "session_hash": "x"}
        assert httpx.post(address + "gradio_api/component_server", json=body).status_code == 401
        assert httpx.get(address + "config").status_code == 401
        wish = {"run": "", "board": "live", "since": {}, "smoothing": 0, "axis": "step"}
        assert httpx.post(address + "second-opinion/points", json=wish).status_code == 401
        with httpx.Client() as client:
            assert client.post(address + "login", data={"username": "me", "password": "wrong"}).status_code == 400
            assert client.post(address + "login", data={"username": "me", "password": "secret"}).status_code == 200
            assert client.get(address + "config").status_code == 200
            assert client.post(address + "second-opinion/points", json=wish).status_code == 200


def test_a_page_of_another_site_cannot_speak_to_the_dashboard(tmp_path):
    with dashboard(tmp_path) as address:
        assert httpx.get(address, headers={"host": "attacker.example"}).status_code == 400
        assert httpx.get(address).status_code == 200
        answer = httpx.get(address + "config", headers={"origin": "https://attacker.example"})
        assert "access-control-allow-origin" not in answer.headers


def test_everything_is_reached_by_keyboard(growing, address):
    with opened(address) as page:
        wait_for_curves(page)
        reached = set()
        for _ in range(150):
            page.keyboard.press("Tab")
            reached.add(
                page.evaluate(
                    "(document.activeElement.getAttribute('aria-label') || document.activeElement.textContent).trim()"
                )
            )
        assert {"Stop", "Live", "Open its games", "CSV: Gradient norm"} <= reached
