"""Published accuracies of the error flag on MEDEC, to stand beside one's own. Each is given with its source."""

from typing import NamedTuple

PAPERS = "arXiv 2511.19858 and the MEDEC paper (Ben Abacha et al., Findings of ACL 2025)"


class Anchor(NamedTuple):
    who: str
    accuracy: float
    notes: str
    source: str


TEST, PUBLIC = "MEDEC's 925 test notes", "MEDEC's 597 public test notes (MS)"

ANCHORS = (
    Anchor("doctor 1", 0.796, TEST, PAPERS),
    Anchor("doctor 2", 0.716, TEST, PAPERS),
    Anchor("GPT-5, ten retrieved examples", 0.741, TEST, PAPERS),
    Anchor("Claude 3.5 Sonnet", 0.693, TEST, PAPERS),
    Anchor("GPT-4.1, zero-shot", 0.681, TEST, PAPERS),
    Anchor("GPT-4o", 0.647, TEST, PAPERS),
    Anchor("Gemini 2.0 Flash", 0.599, TEST, PAPERS),
    Anchor("Qwen3-4B, zero-shot", 0.587, PUBLIC, "this project's specification, which names no paper"),
)

REMARK = (
    "All but one of the published figures are of all 925 test notes of MEDEC, 328 of which are not public: beside any other "
    "notes they say how hard the task is, not who is ahead. A set of pairs has as many harmful notes as safe ones; MEDEC's "
    "own files have somewhat more."
)


def beside(source: str) -> tuple[Anchor, ...]:
    """The anchors for notes of this source; none for notes that nobody published figures on."""
    return ANCHORS if source == "medec" else ()
