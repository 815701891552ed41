"""Writes the prompts of the single-turn mode out as text, with the policy's own tokenizer.

OpenRLHF feeds a row's `input` to the model as it stands in that mode. Run once per run, in the engine's interpreter:
`python -m medical_team.render --model MODEL --folder FOLDER` rewrites FOLDER's train.jsonl and eval.jsonl.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from medical_team import agent_settings, data, prompts
from medical_team.types import Role


def render(folder: Path, tokenizer, style: prompts.Style, cot: bool, ends: Sequence[int] = ()) -> None:
    """Each row gets the assessor's whole prompt as its input, and in its label the tokens that may end a reply: the
    tokenizer's own, and `ends`, the ids at which the model stops.

    A prompt is written as the tokenizer decodes it, for OpenRLHF hands it back so, and some tokenizers normalise. Running
    it twice changes nothing.
    """
    said = {tokenizer.eos_token, tokenizer.pad_token, *(tokenizer.decode([end]) for end in ends)}
    endings = tuple(sorted(filter(None, said)))
    for path in (folder / "train.jsonl", folder / "eval.jsonl"):
        rows = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8", newline="\n") as file:
            for row in rows:
                label = data.RowLabel.model_validate_json(row["label"])
                chat = prompts.messages(Role.ASSESSOR, label.sample.note, style=style, cot=cot)
                row["input"] = tokenizer.decode(
                    tokenizer.encode(prompts.text(tokenizer, chat, cot), add_special_tokens=False)
                )
                row["label"] = label.model_copy(update={"endings": endings}).model_dump_json()
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        part.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    from transformers import AutoTokenizer

    settings, config = agent_settings.from_environment()
    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    render(asked.folder, tokenizer, settings.style, not config.direct_chat_no_cot, ends_of(asked.model))


def ends_of(model: str) -> list[int]:
    """The ids at which the model's own generation settings say that a reply ends; vLLM stops there too."""
    from transformers import GenerationConfig

    try:
        ends = GenerationConfig.from_pretrained(model).eos_token_id
    except OSError:  # a model without such settings
        return []
    return ends if isinstance(ends, list) else [ends] if ends is not None else []


if __name__ == "__main__":
    main()
