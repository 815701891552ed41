import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_run import HOSTILE, MEGABYTE, game

from app import diff
from app.pages import game_list, one_game
from app.text import LONGEST, block, compared, cut, duration
from launcher.config import resolve
from launcher.markup import Markup, tag, visible
from launcher.store_page import GameFilter


class Reader(HTMLParser):
    """The text of a page, and what elements and attributes it has."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.text, self.tags, self.attributes = "", set(), set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.text += data


def read(html):
    reader = Reader()
    reader.feed(str(html))
    reader.close()
    return reader


TEXT = st.text(st.characters(), max_size=200)


@given(TEXT)
def test_visible_leaves_no_character_that_hides_or_turns_others(text):
    shown = visible(text)
    bidi = {unicodedata.bidirectional(character) for character in shown}
    assert not bidi & {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "BN"}
    assert all(unicodedata.category(character) != "Cc" or character in "\t\n" for character in shown)


@pytest.mark.parametrize("text, shown", [
    ("50\u202e mg", "50⟨U+202E⟩ mg"), ("a\x00b", "a⟨U+0000⟩b"), ("a\u200bb", "a⟨U+200B⟩b"), ("a\tb\nc", "a\tb\nc"),
    ("مريض", "مريض"), ("\x1b[2J", "⟨U+001B⟩[2J"), ("🙂 é", "🙂 é"),
])  # fmt: skip
def test_hidden_characters_are_named(text, shown):
    assert visible(text) == shown


@given(TEXT)
def test_an_element_holds_its_text_and_nothing_else(text):
    found = read(tag("p", text, title=text))
    assert found.text == visible(text)
    assert found.tags == {"p"} and found.attributes == {"title"}


def test_markup_is_kept_and_none_is_nothing():
    assert tag("p", Markup("<b>x</b>"), None, hidden=True, title=None, class_="a") == '<p hidden class="a"><b>x</b></p>'


@pytest.mark.parametrize("show", [
    block, lambda text: compared(diff.words("", text).after, "ins"), lambda text: tag("td", cut(text, 100_000)),
])  # fmt: skip
def test_hostile_text_is_shown_and_makes_no_element(show):
    found = read(show(HOSTILE))
    assert found.tags <= {"div", "ins", "td"}
    assert found.attributes <= {"class", "dir", "tabindex"}
    assert "<img src=x onerror" in found.text and "${alert('template')}" in found.text and "{{x}}" in found.text
    assert "⟨U+202E⟩" in found.text and "\u202e" not in found.text


def test_a_game_of_hostile_texts_has_no_element_but_ours():
    found = read(one_game.whole(game("r", 1, 1, HOSTILE), resolve("cpu-demo")))
    assert not found.tags & {"img", "script", "svg", "style", "textarea", "template"}
    assert not {name for name in found.attributes if name.startswith("on")}
    for piece in ("thinking", "because", "output", "judge", "verdict <img"):
        assert piece in found.text


def test_a_long_text_is_cut_and_says_by_how_much():
    shown = read(block(MEGABYTE)).text
    assert len(shown) < LONGEST + 200
    assert f"{len(MEGABYTE) - LONGEST:,} more characters" in shown


def test_cut_makes_one_short_line():
    assert cut("a\n b  c", 10) == "a b c"
    assert cut("x" * 50, 10) == "x" * 9 + "…"
    assert len(cut(MEGABYTE, 80)) <= 80


def test_duration():
    assert [duration(seconds) for seconds in (None, 5.4, 61, 7322)] == ["-", "5 s", "1 min 1 s", "2 h 2 min"]


EMPTY = dict.fromkeys(("text", "counted", "step", "lowest", "outcome"), "")


def test_an_empty_filter_filters_nothing():
    assert game_list.game_filter(EMPTY) == GameFilter()


def test_numbers_of_the_filter_are_read_zero_too():
    wanted = game_list.game_filter(EMPTY | {"step": "0", "lowest": "-0.5", "outcome": "tie"})
    assert (wanted.step, wanted.lowest, wanted.outcome) == (0, -0.5, "tie")


@pytest.mark.parametrize("step", ["three", "1.5", "nan", "1" * 30])
def test_what_is_no_number_is_refused_by_name(step):
    with pytest.raises(ValueError, match="step"):
        game_list.game_filter(EMPTY | {"step": step})
