"""The page Judge in Chromium, on a run that is written out."""

import csv
import json

import pytest
import written_run
from browser import dashboard, opened, violations
from playwright.sync_api import expect

from launcher.ingest import ingest
from launcher.store import Store

pytestmark = pytest.mark.e2e
ID = "20260102-030405-abcd"
ELEMENTS = "#judge :is(img, iframe, object, svg[onload], .one-game script, .one-game textarea)"


def written(folder):
    texts = {3: written_run.HOSTILE}
    games = [written_run.game(ID, number, 1 + number % 6, texts.get(number, "")) for number in range(30)]
    return written_run.write(folder / "runs", ID, games, steps=6)


@pytest.fixture
def run(tmp_path):
    return written(tmp_path)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A dashboard for the tests that label nothing."""
    with dashboard(written(tmp_path_factory.mktemp("looked-at")).path.parent) as found:
        yield found


def test_twenty_notes_are_reviewed_with_the_keyboard_alone(run):
    with dashboard(run.path.parent) as address, opened(address, path=f"?run={ID}&tab=judge") as page:
        place = page.locator("#judge .so-place")
        expect(place).to_have_text("Note 1 of 30")
        expect(page.locator("#judge .so-note")).to_contain_text("shown once you have labelled")
        for number in range(20):
            page.keyboard.press("u" if number == 7 else "s" if number % 5 == 0 else "h")
            expect(place).to_have_text(f"Note {number + 2} of 30")
        page.keyboard.press("k")
        expect(place).to_have_text("Note 20 of 30")
        expect(page.locator("#judge .so-note")).to_contain_text("You: Harmful")
        expect(page.locator("#judge .so-note")).to_contain_text("Judge: Harmful")
        agreement = page.locator("#judge .so-agreement")
        expect(agreement).to_contain_text("78.9%")  # 15 of the 19 that were labelled; the judge said Harmful every time
        assert page.locator(ELEMENTS).count() == 0
    lines = [json.loads(line) for line in run.reviews.read_text().splitlines()]
    assert [line["label"] for line in lines].count("Safe") == 4 and len({line["game"] for line in lines}) == 20
    assert len(lines) == 20


def test_the_last_note_is_labelled_once_and_games_played_since_come_after_it(tmp_path):
    run = written_run.write(tmp_path / "runs", ID, [written_run.game(ID, number, 1) for number in range(2)], steps=6)
    with dashboard(run.path.parent) as address, opened(address, path=f"?run={ID}&tab=judge") as page:
        place = page.locator("#judge .so-place")
        expect(place).to_have_text("Note 1 of 2")
        page.keyboard.press("h")
        expect(place).to_have_text("Note 2 of 2")
        page.keyboard.press("h")
        expect(place).to_contain_text("Note 2 of 2 is labelled, the last so far")
        page.keyboard.press("s")
        page.get_by_role("button", name="1 games by rule: verdict Harmful, assessor Safe; open them").focus()
        file = next(run.games.glob("*.jsonl"))
        with file.open("a", encoding="utf-8") as more:
            more.writelines(written_run.game(ID, number, 1).model_dump_json() + "\n" for number in (2, 3))
        with Store(run.path.parent / "runs.db") as store:
            ingest(store, run.path)
        cell = page.get_by_role("button", name="2 games by rule: verdict Harmful, assessor Safe; open them")
        expect(cell).to_be_focused()
        page.keyboard.press("j")
        expect(place).to_have_text("Note 3 of 4")
    assert [json.loads(line)["label"] for line in run.reviews.read_text().splitlines()] == ["Harmful", "Harmful"]


def test_a_hostile_note_is_shown_and_nothing_of_it_runs(address):
    with opened(address, path=f"?run={ID}&tab=judge") as page:
        said = []
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        place = page.locator("#judge .so-place")
        expect(place).to_have_text("Note 1 of 30")
        page.get_by_label("Show verdicts before labelling").check()
        for number in range(2, 31):
            if page.locator("#judge .so-note h3").inner_text() == "Game g-3":
                break
            page.keyboard.press("j")
            expect(place).to_have_text(f"Note {number} of 30")
        expect(page.locator("#judge .so-note")).to_contain_text("<img src=x onerror=")
        expect(page.locator("#judge .so-note")).to_contain_text("Judge: Harmful")
        assert page.locator(ELEMENTS).count() == 0 and not said


def test_a_cell_of_the_matrix_opens_its_games(address):
    with opened(address, path=f"?run={ID}&tab=judge") as page:
        cell = page.get_by_role("button", name="15 games by rule: verdict Harmful, assessor Safe; open them")
        expect(cell).to_be_visible()
        cell.click()
        expect(page.get_by_role("tab", name="Games")).to_have_attribute("aria-selected", "true")
        expect(page.locator("tr[data-game]")).to_have_count(15)


def test_reviews_make_truth_known_and_are_exported(run):
    with dashboard(run.path.parent) as address, opened(address, path=f"?run={ID}&tab=judge") as page:
        place = page.locator("#judge .so-place")
        expect(place).to_have_text("Note 1 of 30")
        page.get_by_label("Your name, if you like").fill("hugh s. <b>")
        page.get_by_label("Remark on this note").press_sequentially("she has us")  # letters that are keys elsewhere
        expect(place).to_have_text("Note 1 of 30")
        page.get_by_label("Remark on this note").blur()
        page.keyboard.press("h")
        expect(place).to_have_text("Note 2 of 30")
        expect(page.get_by_label("Remark on this note")).to_have_value("")
        page.get_by_label("Keys act").uncheck()
        page.keyboard.press("h")
        page.get_by_role("button", name="Unsure").click()
        expect(place).to_have_text("Note 3 of 30")
        with page.expect_download() as download:
            page.get_by_role("button", name="Reviews as JSONL").click()
        assert download.value.path().read_bytes() == run.reviews.read_bytes()
        with page.expect_download() as download:
            page.get_by_role("button", name="Reviews as CSV").click()
        rows = list(csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines()))
        assert [(row["judge"], row["person"], row["note"]) for row in rows] == [
            ("Harmful", "Harmful", "she has us"), ("Harmful", "", ""),
        ]  # fmt: skip
        known = page.get_by_role("button", name="1 games known to be Harmful: judge Harmful")
        expect(known).to_be_visible()
        known.click()
        expect(page.locator("tr[data-game]")).to_have_count(1)
    lines = [json.loads(line) for line in run.reviews.read_text().splitlines()]
    assert [(line["label"], line["reviewer"]) for line in lines] == [("Harmful", "hugh s. <b>"), (None, "hugh s. <b>")]


def test_rates_are_drawn_over_the_steps_and_a_step_opens_its_games(address):
    with opened(address, path=f"?run={ID}&tab=judge") as page:
        plots = page.locator("#judge-plots")
        for name in ("judge-rates", "assessor-errors"):
            plots.locator(f".so-figure-{name}").scroll_into_view_if_needed()
            expect(plots.locator(f".so-figure-{name} .scatterlayer .trace").first).to_be_attached()
        expect(plots.locator(".so-figure-judge-probes")).to_contain_text("Comes with the first probe")
        plots.get_by_label("Step", exact=True).fill("2")
        plots.get_by_role("button", name="Open its games").click()
        expect(page.locator("tr[data-game]")).to_have_count(5)


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_accessible_and_fits_a_phone(address, dark):
    with opened(address, 390, dark=dark, path=f"?run={ID}&tab=judge") as page:
        expect(page.locator("#judge .so-place")).to_have_text("Note 1 of 30")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
