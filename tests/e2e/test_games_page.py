"""The pages Games and Logs in Chromium, on runs that are written out, with texts that mean harm."""

import json

import pytest
import written_run
from browser import dashboard, opened
from playwright.sync_api import Page, expect

from medical_team.records import GameRecord

pytestmark = pytest.mark.e2e
ID = "20260102-030405-abcd"
ELEMENTS = "main :is(img, script, iframe, object, form, svg[onload], .one-game textarea)"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A dashboard over one run of 120 games: number 7 is hostile, 8 has a megabyte of text."""
    runs = tmp_path_factory.mktemp("runs")
    texts = {7: written_run.HOSTILE, 8: written_run.MEGABYTE}
    games = [written_run.game(ID, number, 1 + number % 6, texts.get(number, "")) for number in range(120)]
    written_run.write(runs, ID, games, name=f"n {written_run.IMAGE}", steps=6, error=f"lost {written_run.HOSTILE}")
    with dashboard(runs) as found:
        yield found


@pytest.fixture
def page(address):
    with opened(address, path=f"?run={ID}&tab=games") as found:
        watch(found)
        expect(found.locator("tr[data-game]")).to_have_count(50)
        yield found
        assert not found.said, f"a text was executed: {found.said}"


def watch(page: Page) -> None:
    """Keeps what dialogs say in `page.said`, and how many elements of the page are not its own."""
    page.said = []
    page.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))


def own_elements(page: Page) -> int:
    return page.locator(ELEMENTS).count()


def show_game(page: Page, game: str) -> None:
    page.get_by_role("button", name=game, exact=True).click()
    expect(page.locator(".one-game h3")).to_have_text(f"Game {game}")


def count(page: Page):
    return page.get_by_role("status").filter(has_text="–")


def test_a_game_is_read_whole(page):
    show_game(page, "g-119")
    said = page.locator(".one-game")
    expect(said.locator("del").first).to_have_text("40")
    expect(said.locator("ins").first).to_have_text("41")
    for text in ("attacker won", "thinking Harmful", "because", "judge", "raw sum", "P(harmful)", "0.750", "top_p"):
        expect(said).to_contain_text(text)


def test_pages_are_turned(page):
    expect(count(page)).to_contain_text("1–50 of 120")
    page.get_by_role("button", name="Next page").click()
    expect(count(page)).to_contain_text("51–100")
    page.get_by_role("button", name="Next page").click()
    expect(page.locator("tr[data-game]")).to_have_count(20)
    expect(page.get_by_role("button", name="Next page")).to_be_disabled()
    page.get_by_role("button", name="Previous page").click()
    expect(count(page)).to_contain_text("51–100")


def test_games_are_filtered_and_searched(page):
    page.get_by_label("Step", exact=True).fill("2")
    page.get_by_label("Step", exact=True).press("Enter")
    expect(page.locator("tr[data-game]")).to_have_count(20)
    page.get_by_label("Search").fill("atorvastatin warfarin")
    page.get_by_label("Search").press("Enter")
    expect(page.get_by_text("No game passes this filter.")).to_be_visible()
    page.get_by_role("button", name="More filters").click()
    page.get_by_role("button", name="Clear filters").click()
    expect(count(page)).to_contain_text("1–50 of 120")
    expect(page.get_by_label("Step", exact=True)).to_have_value("")


def test_what_is_no_number_is_refused_in_words(page):
    page.get_by_label("Step", exact=True).fill("two")
    page.get_by_label("Step", exact=True).press("Enter")
    expect(page.get_by_text("step: 'two' is not a whole number")).to_be_visible()


def test_the_games_beside_a_game_are_reached_across_pages(page):
    first, fiftieth = (page.locator("tr[data-game] button").nth(place) for place in (0, 49))
    last_of_page, newest = fiftieth.inner_text(), first.inner_text()
    fiftieth.click()
    expect(page.locator(".one-game h3")).to_have_text(f"Game {last_of_page}")
    page.get_by_role("button", name="Next game").click()
    expect(count(page)).to_contain_text("51–100")
    expect(page.locator("tr[aria-current] button")).to_have_count(1)
    page.get_by_role("button", name="Previous game").click()
    expect(page.locator(".one-game h3")).to_have_text(f"Game {last_of_page}")
    show_game(page, newest)
    page.get_by_role("button", name="Previous game").click()
    expect(page.get_by_text("There is no further game in this list.")).to_be_visible()


def test_a_link_opens_its_game(page, address):
    show_game(page, "g-118")
    link = page.get_by_role("link", name="Link to this game").get_attribute("href")
    page.goto(f"{address}{link}")
    expect(page.locator(".one-game h3")).to_have_text("Game g-118")


@pytest.mark.parametrize("game", ["gone", "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E"])
def test_a_link_to_a_game_that_is_not_there_says_so(page, address, game):
    page.goto(f"{address}?run={ID}&tab=games&game={game}")
    expect(page.get_by_text("has no game")).to_be_visible()
    assert own_elements(page) == 0


def test_keys_alone_reach_a_game(page):
    page.get_by_label("Search").focus()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('tr[data-game]') !== null"):
            break
    page.keyboard.press("Enter")
    expect(page.locator(".one-game h3")).to_be_visible()


def test_hostile_texts_are_shown_and_do_nothing(page):
    before = own_elements(page)
    page.get_by_label("Search").fill("onerror")
    page.get_by_label("Search").press("Enter")
    expect(page.locator("tr[data-game]")).to_have_count(1)
    show_game(page, "g-7")
    for text in (written_run.IMAGE, "${alert('template')}", "{{x}}", "</script>", "⟨U+202E⟩50 mg", "⟨U+0007⟩", "مريض"):
        expect(page.locator(".one-game")).to_contain_text(text)
    assert own_elements(page) == before == 0
    page.wait_for_timeout(500)


def test_a_megabyte_of_text_is_cut_on_the_page_and_whole_in_the_download(page):
    page.get_by_label("Step", exact=True).fill("3")
    page.get_by_label("Step", exact=True).press("Enter")
    expect(page.locator("tr[data-game]")).to_have_count(20)
    show_game(page, "g-8")
    expect(page.locator(".one-game .more").first).to_contain_text("more characters: download the record")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download record").click()
    assert download.value.suggested_filename == "game-g-8.json"
    record = GameRecord.model_validate(json.loads(download.value.path().read_text(encoding="utf-8")))
    assert record.note.endswith(written_run.MEGABYTE)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(address, width):
    with opened(address, width=width, path=f"?run={ID}&tab=games&game=g-7") as page:
        expect(page.locator(".one-game h3")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_log_shows_its_end_and_jumps_to_the_first_error(page):
    page.get_by_role("tab", name="Logs").click()
    log = page.get_by_role("log")
    expect(log.locator("li[data-level=error]")).to_have_count(3)
    expect(log).to_contain_text("Generate samples: 100%")
    expect(log).not_to_contain_text("Generate samples:  40%")
    page.get_by_role("button", name="First error").click()
    expect(log.locator("li[aria-current]")).to_contain_text("Traceback")
    assert own_elements(page) == 0


def test_the_log_is_filtered_searched_and_downloaded(page):
    page.get_by_role("tab", name="Logs").click()
    log = page.get_by_role("log")
    page.get_by_label("Find in the log").fill("GLOBAL STEP 3")
    page.get_by_label("Find in the log").press("Enter")
    expect(log.locator("li:not(.phase)")).to_have_count(1)
    page.get_by_label("Find in the log").fill("")
    page.get_by_label("Find in the log").press("Enter")
    page.get_by_label("Level").click()
    page.get_by_role("option", name="warnings").click()
    expect(log.locator("li").first).to_contain_text("low memory")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the log").or_(
            page.get_by_role("button", name="Download the log")
        ).first.click()
    assert download.value.path().read_text(encoding="utf-8") == written_run.log(6, f"lost {written_run.HOSTILE}")


def test_bad_lines_are_listed_with_file_and_reason(page):
    page.get_by_role("tab", name="Logs").click()
    page.get_by_role("button", name="Lines that could not be used (1)").click()
    row = page.get_by_role("row").filter(has_text="memory.jsonl")
    expect(row).to_contain_text("<img src=x")
    assert own_elements(page) == 0
