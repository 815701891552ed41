"""How varied an attacker's notes are, and how much of a note it changes. Words are what spaces part."""

import difflib
import math
from collections import Counter
from collections.abc import Sequence

ORDERS = (1, 2, 3, 4)


def changed_share(before: str, after: str) -> float:
    """Words that were put in, taken out or replaced, as a share of the longer text's words; 0 for equal texts."""
    a, b = before.split(), after.split()
    codes = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    changed = sum(max(a2 - a1, b2 - b1) for code, a1, a2, b1, b2 in codes if code != "equal")
    return min(1.0, changed / max(len(a), len(b), 1))


def distinct(texts: Sequence[str], order: int) -> float | None:
    """Different n-grams as a share of all (Li et al., NAACL 2016). None without an n-gram."""
    grams = Counter(gram for text in texts for gram in _grams(text.split(), order))
    return len(grams) / grams.total() if grams else None


def self_bleu(texts: Sequence[str]) -> float | None:
    """Mean BLEU-4 of each text against all others (Zhu et al., SIGIR 2018): 1 for copies of one text.

    An order without a match counts as half a match, and one that the text is too short for is left out. None for fewer
    than two texts.
    """
    words = [text.split() for text in texts]
    if len(words) < 2:
        return None
    counts = {order: [Counter(_grams(one, order)) for one in words] for order in ORDERS}
    best = {order: _two_best(counts[order]) for order in ORDERS}
    lengths = Counter(map(len, words))
    scores = []
    for place, one in enumerate(words):
        logs = []
        for order in ORDERS:
            own, total = counts[order][place], max(0, len(one) - order + 1)
            matched = sum(min(count, _best_of_others(best[order][gram], place)) for gram, count in own.items())
            if total:
                logs.append(math.log((matched or 0.5) / total))
        scores.append(_brevity(len(one), lengths) * math.exp(sum(logs) / len(logs)) if logs else 0.0)
    return math.fsum(scores) / len(scores)


def _grams(words: list[str], order: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(order)), strict=False))


def _two_best(counts: list[Counter]) -> dict[tuple[str, ...], list[tuple[int, int]]]:
    """n-gram -> its two highest counts, each with the text that has it."""
    best: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for place, grams in enumerate(counts):
        for gram, count in grams.items():
            best[gram] = sorted([*best.get(gram, ()), (count, place)], reverse=True)[:2]
    return best


def _best_of_others(best: list[tuple[int, int]], place: int) -> int:
    return next((count for count, text in best if text != place), 0)


def _brevity(length: int, lengths: Counter) -> float:
    """BLEU's penalty for a text that is shorter than the other text next to it in length."""
    others = [other for other, count in lengths.items() if other != length or count > 1]
    nearest = min(others, key=lambda other: (abs(other - length), other))
    return 1.0 if length >= nearest else math.exp(1 - nearest / length) if length else 0.0
