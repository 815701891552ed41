"""Writes the prompts of the single-turn mode out as text, with the policy's own tokenizer.

OpenRLHF feeds a row's `input` to the model as it stands in that mode. Run once per run, in the engine's interpreter:
`python -m medical_team.render --model MODEL --folder FOLDER` rewrites FOLDER's train.jsonl and eval.jsonl.
"""

import argparse
import json
from pathlib import Path

from medical_team import agent_settings, data, prompts
from medical_team.types import Role


def render(folder: Path, tokenizer, style: prompts.Style, cot: bool) -> None:
    """Each row gets the assessor's whole prompt as its input, and in its label the tokens that may end a reply.

    Running it twice changes nothing.
    """
    endings = tuple(sorted({token for token in (tokenizer.eos_token, tokenizer.pad_token) if token}))
    for path in (folder / "train.jsonl", folder / "eval.jsonl"):
        rows = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8", newline="\n") as file:
            for row in rows:
                label = data.RowLabel.model_validate_json(row["label"])
                chat = prompts.messages(Role.ASSESSOR, label.sample.note, style=style, cot=cot)
                row["input"] = prompts.text(tokenizer, chat, cot)
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
    render(asked.folder, AutoTokenizer.from_pretrained(asked.model), settings.style, not config.direct_chat_no_cot)


if __name__ == "__main__":
    main()
