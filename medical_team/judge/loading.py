"""From settings to a judge, and to the name that its verdicts, its cache and its check go by."""

import hashlib
import json

from medical_team.judge import Judge, answers
from medical_team.judge.failures import Failures
from medical_team.judge.model_files import weights_mark
from medical_team.judge.model_judge import ModelJudge, Rules
from medical_team.judge.reference import ReferenceJudge
from medical_team.judge.settings import HTTP, LOCAL, REFERENCE, JudgeSettings


def load(settings: JudgeSettings, failures: Failures) -> Judge:
    """Errors: JudgeError."""
    if settings.kind == REFERENCE:
        return ReferenceJudge()
    if settings.kind == LOCAL:
        from medical_team.judge.local_backend import LocalBackend

        return ModelJudge(LocalBackend(settings, name), rules(settings), failures)
    from medical_team.judge import http

    if settings.kind == HTTP:
        return ModelJudge(http.ChatBackend(settings, name(settings)), rules(settings), failures)
    return http.ServerJudge(settings, http.server_name(settings), failures)


def rules(settings: JudgeSettings) -> Rules:
    return Rules(
        settings.mode, settings.abstain_low, settings.abstain_high, settings.escalate, settings.timeout_s
    )  # fmt: skip


def name(settings: JudgeSettings) -> str:
    """Model and version: equal only where all that a verdict depends on is equal. Nothing is loaded for it.

    Of kind server the server has the name: see `http.server_name`.
    """
    if settings.kind == REFERENCE:
        return ReferenceJudge.name
    model = settings.model.rstrip("/").rpartition("/")[2]
    where, precision = weights_mark(settings.model), f" {settings.precision}"
    if settings.kind == HTTP:
        where, precision = settings.url, ""  # how the server has its weights, no setting of ours can tell
    matters = [
        where, settings.model, precision, settings.mode, settings.abstain_low, settings.abstain_high,
        settings.escalate, settings.explain_tokens, answers.version(), answers.LEAST_MASS,
    ]  # fmt: skip
    mark = hashlib.sha256(json.dumps(matters).encode()).hexdigest()[:8]
    return f"{model}{precision} {settings.mode} {mark}"
