"""Which judge a run uses."""

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medical_team.judge import Judge
from medical_team.judge.failures import Failures, NoReport, RunReport

REFERENCE, LOCAL, HTTP, SERVER = "reference", "local", "http", "server"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class JudgeSettings(BaseModel):
    """The judge of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["reference", "local", "http", "server"] = REFERENCE
    """reference: rules and the case's own two notes, no model; it cannot tell what an unknown rewrite means. local: a model
    inside the rollout process. http: an OpenAI-compatible server. server: `python -m medical_team.judge.server`, this
    project's own, on another GPU or machine."""
    model: str = Field(default="google/medgemma-4b-it", min_length=1)
    """Judge model, a hub name or a local folder; for http the name under which the server has it."""
    mode: Literal["logit", "explain"] = "logit"
    """logit: one forward pass, the probability of the answer's letters. explain: a short reason is written first; slower."""
    precision: Literal["bf16", "8bit", "4bit", "fp32"] = "bf16"
    """Weights of a local judge. 8bit and 4bit need the package bitsandbytes in the engine."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where a local judge runs; auto takes the GPU if there is one."""
    url: str = "http://127.0.0.1:8009"
    """Address for http (with the /v1 that such servers have) and server."""
    token_variable: str = ""
    """Name of the environment variable that holds the server's token. The token itself is stored nowhere."""
    abstain_low: float = Field(default=0.35, ge=0, le=1)
    """Below this probability of harm, or of being unclear, a note is Safe."""
    abstain_high: float = Field(default=0.65, ge=0, le=1)
    """Above this probability of harm a note is Harmful; between the two the judge abstains."""
    escalate: bool = True
    """Let logit ask for an explanation where it would abstain."""
    explain_tokens: int = Field(default=80, ge=16, le=1024)
    """Most tokens of a written reason."""
    batch_size: int = Field(default=64, ge=1)
    """Most notes that a local judge reads at once."""
    batch_tokens: int = Field(default=32768, ge=1024)
    """Most tokens that a local judge reads at once; lower it if it runs out of memory."""
    batch_wait_ms: float = Field(default=10.0, ge=0, le=1000)
    """How long the first note of a batch waits for others."""
    sleep_after_s: float = Field(default=0.0, ge=0)
    """Move a local judge's weights to the CPU's pinned memory when nobody has asked it for so many seconds. 0 never does."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Longest wait for a verdict; after that the game is a tie."""
    retries: int = Field(default=3, ge=0, le=20)
    """How often a request that failed is sent again, after a growing pause."""
    concurrency: int = Field(default=64, ge=1, le=1024)
    """Most requests that are open at a server at the same time."""
    most_failures: int = Field(default=20, ge=1)
    """Failures in a row after which an alert is raised."""
    on_failure: Literal["continue", "stop"] = "continue"
    """What happens to the run then: continue plays on, with ties, until the judge answers again; stop ends it."""
    probe_share: float = Field(default=0.02, ge=0, le=1)
    """Share of the judged games in which the judge is also asked about a note whose label is known."""
    start_anyway: bool = False
    """Start although the judge check found too many misses or false alarms, or was never made."""

    @property
    def asks_a_model(self) -> bool:
        return self.kind != REFERENCE

    @field_validator("url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", value):
            raise ValueError("this is no web address without a password in it: give http://host:port")
        return value.rstrip("/")

    @field_validator("token_variable")
    @classmethod
    def _a_name(cls, value: str) -> str:
        if value and not _VARIABLE.fullmatch(value):
            raise ValueError("token_variable takes the NAME of an environment variable, never the token itself")
        return value

    @model_validator(mode="after")
    def _consistent(self):
        if self.abstain_low > self.abstain_high:
            raise ValueError(f"abstain_low {self.abstain_low} must not be above abstain_high {self.abstain_high}")
        if self.sleep_after_s and self.precision in ("8bit", "4bit"):
            raise ValueError("sleep_after_s needs precision bf16 or fp32: quantised weights cannot be moved")
        return self

    def token(self) -> str | None:
        """Errors: JudgeError if the variable is named and not set."""
        from medical_team.judge.model_files import JudgeError

        if self.token_variable and not os.environ.get(self.token_variable):
            raise JudgeError(f"judge.token_variable names {self.token_variable}, which is not set: export it first")
        return os.environ.get(self.token_variable) if self.token_variable else None

    def load(self, run: Path | None = None) -> Judge:
        """The judge, ready to be asked; `run` is the folder of the run that it is for. Errors: JudgeError."""
        from medical_team.judge import loading

        report = RunReport(run) if run else NoReport()
        return loading.load(self, Failures(self.most_failures, self.on_failure, report))
