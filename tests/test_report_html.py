import re

import pytest
import written_run
from test_text_shown import read

from launcher import library, report_html
from launcher.ingest import ingest
from launcher.runs import Runs
from launcher.store import Store

ID = "20260102-030405-abcd"


@pytest.fixture
def report(tmp_path):
    """The report of a run with hostile texts, as HTML."""
    run = written_run.write(
        tmp_path, name=f"mine {written_run.IMAGE}",
        games=[written_run.game(ID, number, 1 + number % 3, written_run.HOSTILE) for number in range(6)],
    )  # fmt: skip
    library.write_notes(run, f"noted {written_run.HOSTILE}", ["a <b>tag</b>"])
    with Store(Runs(tmp_path).store_path) as store:
        ingest(store, run.path)
        path = report_html.write(store, run, tmp_path / "report.html")
    return path.read_text(encoding="utf-8")


def test_it_holds_settings_curves_games_notes_and_where_the_notes_come_from(report):
    text = read(report).text
    for said in (
        ID, "done", "noted", "train.learning_rate", "0.0005", "Game g-5", "CC BY 4.0", "Someone, 2026.",
        "Mean raw reward by role", "because", "a <b>tag</b>",
    ):  # fmt: skip
        assert said in text
    assert report.count("<polyline") > 10


def test_hostile_texts_make_no_element_and_no_attribute(report):
    found = read(report)
    assert not found.tags & {"script", "img", "iframe", "link", "textarea", "template", "object", "form", "b"}
    assert not {name for name in found.attributes if name.startswith("on") or name in ("src", "href")}
    assert "<img src=x onerror" in found.text and "${alert('template')}" in found.text


def test_it_asks_for_nothing_from_the_network_and_forbids_it(report):
    assert report.startswith('<!doctype html>\n<html lang="en"><head><meta')
    assert re.search(r"content=\"default-src &#39;none&#39;|content=\"default-src 'none'", report)
    assert not re.search(r"(?:src|href)=|url\(|@import", re.sub(r"&lt;.*?&gt;", "", report))


def test_a_run_without_steps_and_games_has_a_report_too(tmp_path):
    run = written_run.write(tmp_path, games=[])
    run.log(1).write_text("nothing yet\n")
    (run.data / "card.json").unlink()
    with Store(Runs(tmp_path).store_path) as store:
        ingest(store, run.path)
        text = read(report_html.whole(store, run)).text
    assert "No step finished yet." in text and "no data card" in text


def test_what_is_damaged_is_told_of_and_the_rest_is_there(tmp_path):
    run = written_run.write(tmp_path)
    with Store(Runs(tmp_path).store_path) as store:
        ingest(store, run.path)
        library.notes_file(run).write_text('{"notes": ')
        (run.data / "card.json").write_text("[1]")
        games = run.games / "1-1.jsonl"
        games.write_text("\n".join([*games.read_text().splitlines()[:5], "{"]))
        text = read(report_html.whole(store, run)).text
        packed = library.archive(store, run)
        (run.data / "card.json").unlink()
        library.archive(store, run)
    for said in ("notes.json", "card.json", "'g-5' is no longer at byte", "Game g-4", "Mean raw reward by role"):
        assert said in text
    assert packed.stat().st_size > 1000


def test_a_megabyte_of_text_does_not_swell_it(tmp_path):
    run = written_run.write(tmp_path, games=[written_run.game(ID, 1, 1, written_run.MEGABYTE)])
    with Store(Runs(tmp_path).store_path) as store:
        ingest(store, run.path)
        whole = report_html.whole(store, run)
    assert len(whole) < 500_000
    assert "more characters" in whole
