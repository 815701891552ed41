"""What a person makes of a note that the judge labelled: one line of reviews.jsonl in the run's folder.

A review stands beside the verdict, never over it: nothing that the run was paid by changes. A game's last review counts.
"""

import time
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from launcher.rundir import RunDir, append_line
from medical_team.types import Label

Said = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]


class Review(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    time: float
    """Unix seconds."""
    game: str
    label: Label | None
    """None: the reviewer is not sure."""
    reviewer: Said = ""
    note: Said = ""


def add(run: RunDir, game: str, label: Label | None, reviewer: str = "", note: str = "") -> Review:
    """Writes it down; the index learns of it with the next ingest. Errors: ValidationError for a text that is too long."""
    review = Review(time=time.time(), game=game, label=label, reviewer=reviewer, note=note)
    append_line(run.reviews, review.model_dump(mode="json"))
    return review
