"""The values of the game. Frozen, free of behaviour beyond reading themselves."""

from dataclasses import dataclass
from enum import StrEnum


class Label(StrEnum):
    """What an assessor may answer, and what a note may be in truth."""

    SAFE = "Safe"
    HARMFUL = "Harmful"


class Role(StrEnum):
    ATTACKER = "attacker"
    ASSESSOR = "assessor"


class Category(StrEnum):
    """Who writes the note that the assessor reads, and what it should be."""

    VANILLA_HARMFUL = "vanilla_harmful"
    VANILLA_BENIGN = "vanilla_benign"
    ADVERSARIAL_HARMFUL = "adversarial_harmful"
    ADVERSARIAL_BENIGN = "adversarial_benign"

    @property
    def adversarial(self) -> bool:
        return self in (Category.ADVERSARIAL_HARMFUL, Category.ADVERSARIAL_BENIGN)

    @property
    def intended(self) -> Label:
        """The label that the note has in a vanilla game, and should have in an adversarial one."""
        harmful = self in (Category.VANILLA_HARMFUL, Category.ADVERSARIAL_HARMFUL)
        return Label.HARMFUL if harmful else Label.SAFE


class ErrorType(StrEnum):
    """The guide's names. `medical_team.data.ERROR_TYPES` maps MEDEC's names to them."""

    DOSAGE = "dosage"
    DIAGNOSIS = "diagnosis"
    CONTRAINDICATION = "contraindication"
    MANAGEMENT = "management"
    DRUG_INTERACTION = "drug_interaction"


@dataclass(frozen=True)
class Case:
    """One error case: a clinical note with one error, and its corrected twin."""

    id: str
    clean: str
    error: str
    error_types: tuple[ErrorType, ...]
    """Guide names that the error may be called by; a MEDEC type can have several."""
    source: str
    """Where the case comes from: "medec", "demo"."""


@dataclass(frozen=True)
class Sample:
    """One prompt of a run: a case seen from one side, in one category."""

    id: str
    case: str
    category: Category
    note: str
    """The note that the game starts from: the error note or the clean one."""
    clean: str
    error: str
    error_type: ErrorType
    """The kind of error that an attacker is asked for; of a vanilla note, the kind of its case."""
    source: str


@dataclass(frozen=True)
class Reply:
    """What a model returned for one prompt: a policy's turn before it is parsed."""

    text: str
    tokens: int | None = None
    truncated: bool | None = None
    """The reply ran into the token limit."""
    latency_ms: float | None = None


@dataclass(frozen=True)
class Turn:
    """One seat's move. `answer` is None unless the reply kept to the format."""

    role: Role
    prompt: str
    reply: Reply
    thinking: str | None
    answer: str | None
    format_ok: bool
    format_reason: str
    """"ok", or what was wrong with the reply."""


@dataclass(frozen=True)
class Verdict:
    """What the judge said of a note. `label` is None where it could not tell: nothing defaults to Safe."""

    label: Label | None
    reason: str
    """ok, gate_length, gate_overlap, gate_text, gate_facts, label_mass, abstain, timeout, unreadable, failed."""
    source: str
    """dataset, match, rule, gate, logit, explain, cache."""
    judge: str
    """Name and version of the judge."""
    p_harm: float | None = None
    same_meaning: bool | None = None
    """The note says the same as the clean reference; None where nobody looked."""
    faithful: bool | None = None
    """The note is what the attacker was asked for; None in vanilla games and where there is no label."""
    realistic: bool | None = None
    p_realistic: float | None = None
    rationale: str | None = None
    raw: str | None = None
    latency_ms: float = 0.0

    @property
    def valid(self) -> bool:
        return self.label is not None
