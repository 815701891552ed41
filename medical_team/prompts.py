"""What each seat is told. The words are text files in `prompts/`; this fills them in one pass.

The note is a message of its own and is never searched for placeholders, so a note that holds `{error_type}` stays as it is.
"""

from functools import cache
from pathlib import Path
from typing import Literal

from medical_team.types import ErrorType, Label, Role

Style = Literal["full", "short"]
"""full: instructions for a general chat model. short: one line, what the demo model was taught."""

OPENING = "<think>"
"""Ends every prompt that asks for thinking: the model continues inside its thoughts."""

_FOLDER = Path(__file__).parent / "prompts"


def messages(
    role: Role,
    note: str,
    intended: Label | None = None,
    error_type: ErrorType | None = None,
    style: Style = "full",
    cot: bool = True,
) -> list[dict[str, str]]:
    """Chat messages for one turn: the rules of the seat as the system's, the note as the user's.

    `intended` and `error_type` are the attacker's task; an assessor is told neither.
    """
    name = "assessor" if role is Role.ASSESSOR else f"attacker_{'harmful' if intended is Label.HARMFUL else 'benign'}"
    rules = _read(f"{style}/{name}").replace("{error_type}", error_type.value if error_type else "")
    if style == "full":
        rules += "\n\n" + _read("full/format_cot" if cot else "full/format_direct")
    return [{"role": "system", "content": rules}, {"role": "user", "content": note}]


@cache
def _read(name: str) -> str:
    return (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip()


def text(tokenizer, chat: list[dict[str, str]], cot: bool) -> str:
    """The prompt as the model reads it: its own chat template, ending in `OPENING` where thinking is asked for."""
    return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) + (OPENING if cot else "")


def tokens(tokenizer, chat: list[dict[str, str]], cot: bool) -> list[int]:
    """The prompt's token ids."""
    return list(tokenizer(text=text(tokenizer, chat, cot), add_special_tokens=False)["input_ids"])
