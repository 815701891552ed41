"""What a button does when the dashboard fails or is gone: it is said beside the button, and nothing is pretended."""

import json

import pytest
import written_run
from browser import dashboard, opened, wait_until
from playwright.sync_api import Page, expect

from launcher.rundir import write_json
from launcher.state import State

pytestmark = pytest.mark.e2e
ID = "20260102-030405-abcd"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run that crashed after its checkpoint of step 2, of 3 steps."""
    folder = tmp_path_factory.mktemp("runs")
    run = written_run.write(folder, ID, [written_run.game(ID, number, 1) for number in range(5)])
    crashed = State(state="crashed", phase="crashed", step=2, steps=3, started=900.0, ended=1500.0, last_event=1500.0)
    write_json(run.state, crashed.model_dump(mode="json"))
    (run.checkpoints / "_actor" / "global_step2").mkdir(parents=True)
    (run.checkpoints / "_actor" / "latest").write_text("global_step2")
    return folder


@pytest.fixture(scope="module")
def address(runs):
    with dashboard(runs) as found:
        yield found


FAILED = {"status": 500, "body": "Internal Server Error"}


def fail(page: Page, *names: str, held: list | None = None) -> list[str]:
    """These server functions fail from now on, or are held until the test fails them; returns those that were called."""
    called = []

    def answer(route, request):
        name = json.loads(request.post_data)["fn_name"]
        if name not in names:
            return route.fallback()
        called.append(name)
        return held.append(route) if held is not None else route.fulfill(**FAILED)

    page.route("**/component_server/**", answer)
    return called


def test_a_resume_that_fails_is_said_and_can_be_tried_again(address):
    with opened(address, path=f"?run={ID}&tab=live") as page:
        resume = page.get_by_role("button", name="Resume", exact=True).first
        expect(resume).to_be_enabled()
        assert fail(page, "resume") == []
        resume.click()
        expect(page.locator("#status .so-answer")).to_contain_text("The dashboard could not do this")
        expect(resume).to_be_enabled()


def test_no_file_is_saved_of_a_game_that_cannot_be_had(address):
    with opened(address, path=f"?run={ID}&tab=games&game=g-1") as page:
        downloads = []
        page.on("download", lambda one: downloads.append(one))
        fail(page, "record")
        page.get_by_role("button", name="Download record").click()
        expect(page.locator(".one-game [role=alert]")).to_contain_text("The dashboard could not do this")
        assert downloads == []


def test_keys_typed_behind_a_label_that_failed_are_for_no_other_note(address, runs):
    with opened(address, path=f"?run={ID}&tab=judge") as page:
        place = page.locator("#judge .so-place")
        expect(place).to_have_text("Note 1 of 5")
        held = []
        called = fail(page, "label", held=held)
        page.keyboard.type("hsj")
        wait_until(page, lambda: held)
        held.pop().fulfill(**FAILED)
        expect(page.locator("#judge .so-answer")).to_contain_text("The dashboard could not do this")
        page.wait_for_timeout(500)
        expect(place).to_have_text("Note 1 of 5")
        assert called == ["label"]
        page.unroute("**/component_server/**")
        page.keyboard.press("h")
        expect(place).to_have_text("Note 2 of 5")
        expect(page.locator("#judge .so-answer")).to_be_hidden()
    (review,) = (runs / ID / "reviews.jsonl").read_text().splitlines()
    assert json.loads(review)["label"] == "Harmful"


@pytest.mark.parametrize("kind", ["CSV", "JSONL"])
def test_no_file_is_saved_of_reviews_that_cannot_be_had(address, kind):
    with opened(address, path=f"?run={ID}&tab=judge") as page:
        expect(page.locator("#judge .so-place")).to_contain_text("Note 1 of")
        downloads = []
        page.on("download", lambda one: downloads.append(one))
        fail(page, "exported")
        page.get_by_role("button", name=f"Reviews as {kind}").click()
        expect(page.locator("#judge .so-answer")).to_contain_text("The dashboard could not do this")
        assert downloads == []


def test_a_curve_that_cannot_be_had_as_csv_says_so(address):
    with opened(address, path=f"?run={ID}&tab=live") as page:
        page.route("**/second-opinion/table", lambda route: route.fulfill(status=500, body="no"))
        page.get_by_role("button", name="CSV: ").first.click()
        expect(page.locator(".so-tools [role=alert]").first).to_have_text("No CSV: the dashboard did not answer.")
