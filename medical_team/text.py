"""When two notes count as the same text."""

import hashlib
import unicodedata


def normalise(text: str) -> str:
    """The text in one Unicode form (NFKC), case-folded, each run of white space one space. Twice is as good as once."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def fingerprint(text: str) -> str:
    """SHA-256 of the normalised text, in hex: equal for two notes that are the same but for case and spacing."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()
