"""Which judge a run uses."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from medical_team.judge import Judge


class JudgeSettings(BaseModel):
    """The judge of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["reference"] = "reference"
    """reference: rules and the case's own two notes, no model. It cannot tell what an unknown rewrite means."""

    def load(self) -> Judge:
        from medical_team.judge.reference import ReferenceJudge

        return ReferenceJudge()
