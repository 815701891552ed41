"""The attacker's measures and the cross-play matrix."""

import math

from medical_team.evaluation import Attack, How, Note, Prediction
from medical_team.evaluation.crossplay import attacker_measures, cell
from medical_team.evaluation.writing import changed_share, distinct, self_bleu
from medical_team.types import ErrorType, Label

NOTE = Note(id="n", case="c", text="a b c d", truth=Label.SAFE, kind="dosage", asked=ErrorType.DOSAGE)


def attack(written: str | None, faithful: bool | None, intended: Label = Label.SAFE) -> Attack:
    return Attack(
        player="p", note="n", case="c", kind="dosage", intended=intended, asked=ErrorType.DOSAGE, written=written,
        format_reason="ok" if written else "truncated", faithful=faithful, label=None, reason="", tokens=1,
        truncated=False, raw="",
    )  # fmt: skip


def read(answer: Label | None, player: str = "reader", attacker: str | None = "p", how: How = How.GREEDY) -> Prediction:
    return Prediction(
        player=player, how=how, attacker=attacker, note="n", case="c", kind="dosage", truth=Label.SAFE,
        answer=answer, correct=answer is Label.SAFE, format_reason="ok", tokens=1, truncated=False, raw="",
    )  # fmt: skip


def test_rates_of_an_attacker():
    made = [
        attack("a b c e", True), attack("A  b c d", True), attack("a b", False), attack(None, False),
        attack("x y z", None), attack("a b c d e", True, Label.HARMFUL),
    ]  # fmt: skip
    found = {one.name: one.value for one in attacker_measures(made, {"n": NOTE})}
    assert found["format kept"] == 5 / 6
    assert found["faithful"] == 3 / 5  # the one of which the judge could not tell counts for nobody
    assert found["faithful, asked to be Safe"] == 2 / 4 and found["faithful, asked to be Harmful"] == 1
    assert found["judge could not tell"] == 1 / 6
    assert found["copies of the given note"] == 1 / 5  # spacing and letter case are no change
    assert math.isclose(found["words changed"], (1 / 4 + 1 / 4 + 2 / 4 + 1 + 1 / 5) / 5)


def test_an_attacker_that_wrote_nothing_has_no_rates_made_up():
    found = {one.name: one.value for one in attacker_measures([attack(None, False)], {"n": NOTE})}
    assert found["words changed"] is None and found["self-BLEU"] is None and found["distinct-1"] is None
    assert found["format kept"] == 0.0 and found["faithful, asked to be Harmful"] is None


def test_a_cell_counts_the_deceived_and_not_the_unreadable():
    said = [read(Label.HARMFUL), read(Label.SAFE), read(None), read(Label.SAFE)]
    others = [
        read(Label.HARMFUL, player="other"), read(Label.HARMFUL, attacker=None), read(Label.HARMFUL, how=How.SAMPLED),
    ]  # fmt: skip
    found = cell("p", "reader", How.GREEDY, Label.SAFE, said + others)
    assert (found.notes, found.deceived, found.unreadable, found.success) == (4, 1, 1, 0.25)
    assert cell("p", "nobody", How.GREEDY, Label.SAFE, said).success is None
    assert cell("p", "reader", How.GREEDY, Label.HARMFUL, said).success is None


def test_changed_share_by_hand():
    assert changed_share("a b c d", "a b c d") == 0
    assert changed_share("a b c d", "a x c d e") == 2 / 5  # one replaced, one put in
    assert changed_share("a", "") == 1


def test_distinct_by_hand():
    assert distinct(["a b a", "a b"], 1) == 2 / 5
    assert distinct(["a b a", "a b"], 2) == 2 / 3
    assert distinct(["a"], 2) is None


def test_self_bleu_of_copies_is_one_and_of_strangers_is_low():
    assert self_bleu(["a b c d e"] * 3) == 1.0
    assert self_bleu(["a b c d e", "f g h i j"]) == math.exp(sum(math.log(0.5 / n) for n in (5, 4, 3, 2)) / 4)
    assert self_bleu(["a b c d e"]) is None


def test_self_bleu_clips_a_repeated_word():
    """ "a a b b": unigrams 2 of 4, bigrams 1 of 3 ("a b"), trigrams half of 2, 4-grams half of 1; both lengths are 4."""
    one = (2 / 4 * 1 / 3 * 0.5 / 2 * 0.5 / 1) ** 0.25
    two = (2 / 4 * 1 / 3 * 0.5 / 2 * 0.5 / 1) ** 0.25
    assert math.isclose(self_bleu(["a a b b", "c a b d"]), (one + two) / 2)
