import time

from hypothesis import given
from hypothesis import strategies as st

from app import diff

NOTES = st.text(alphabet="ab .,\n\u0645\u202e", max_size=60)


def changed(pieces):
    return [piece.text for piece in pieces if piece.changed]


def test_only_the_words_that_differ_are_marked():
    found = diff.words("Gave 80 mg atorvastatin daily.", "Gave 8 mg atorvastatin twice daily.")
    assert changed(found.before) == ["80"]
    assert changed(found.after) == ["8", " twice"]


def test_equal_notes_have_nothing_marked():
    found = diff.words("One note.", "One note.")
    assert found.before == found.after == (diff.Piece("One note.", False),)


def test_a_note_against_nothing_is_all_new():
    assert diff.words("", "a b") == diff.Diff((), (diff.Piece("a b", True),))


@given(NOTES, NOTES)
def test_the_pieces_of_each_side_make_up_its_text_and_what_is_unmarked_is_common(before, after):
    found = diff.words(before, after)
    assert "".join(piece.text for piece in found.before) == before
    assert "".join(piece.text for piece in found.after) == after
    common = ["".join(piece.text for piece in side if not piece.changed) for side in found]
    assert common[0] == common[1]


def test_two_long_notes_without_a_common_word_are_compared_in_a_moment():
    begun = time.monotonic()
    found = diff.words("start " + "a " * 100_000 + "end", "start " + "b " * 100_000 + "end")
    assert time.monotonic() - begun < 30
    assert [piece.changed for piece in found.before] == [False, True, False]


def test_one_changed_word_in_a_megabyte_is_found():
    found = diff.words("word " * 200_000, "word " * 100_000 + "other " + "word " * 99_999)
    assert "other" in "".join(changed(found.after))
    assert sum(map(len, changed(found.after))) < 20
