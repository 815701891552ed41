"""A judge model in the engine's interpreter. Reads JSON objects, one a line; prints a JSON result for each.

`make` builds a tiny model; `verdicts` asks a judge about pairs, all at once; `look` tells how prompts are tokenised and how
far batched odds are from those of one row at a time.
"""

import asyncio
import json
import sys
from pathlib import Path

import tiny_judge
import torch

from medical_team.judge import Question
from medical_team.judge.answers import prompt
from medical_team.judge.local import LocalModel, Options
from medical_team.judge.settings import JudgeSettings
from medical_team.records import VerdictRecord


def questions(asked: dict) -> list[Question]:
    return [Question(*pair) for pair in asked["pairs"]]


def make(asked: dict) -> str:
    prompts = [prompt(question, "logit") for question in questions(asked)]
    return str(tiny_judge.make(asked["kind"], Path(asked["folder"]), prompts, asked["window"]))


def verdicts(asked: dict) -> list[dict]:
    judge = JudgeSettings.model_validate(asked["settings"]).load()

    async def all_of_them():
        return await asyncio.gather(*[judge.ask(question) for question in questions(asked)])

    return [VerdictRecord.of(verdict).model_dump(mode="json") for verdict in asyncio.run(all_of_them())]


def look(asked: dict) -> dict:
    model = LocalModel(Options(asked["folder"], "cpu", "fp32", batch_size=asked["batch_size"]))
    rows = [model.prompt_ids(question, "logit") for question in questions(asked)]
    together = model.answers(questions(asked), "logit")
    alone = [_plainly(model, row) for row in rows]
    return {
        "class": type(model.model).__name__,
        "begins": [row.count(model.tokenizer.bos_token_id) for row in rows],
        "first": [row[0] for row in rows],
        "bos": model.tokenizer.bos_token_id,
        "turns": [row.count(model.tokenizer.convert_tokens_to_ids("<end_of_turn>")) for row in rows],
        "shared": model.shared_tokens,
        "apart": max(
            abs(one - other)
            for answer, odds in zip(together, alone, strict=True)
            for one, other in zip((answer.odds.harm, answer.odds.mass, answer.odds.realistic), odds, strict=True)
        ),
        "harm": [answer.odds.harm for answer in together],
    }


def _plainly(model: LocalModel, row: list[int]) -> tuple[float, float, float]:
    """The same odds, without batch, padding or cache: harm, mass, realistic."""
    chances = _chances(model, row)
    sums = [chances[ids].sum().item() for ids in model._meanings]
    likeliest = max((token for ids in model._meanings for token in ids), key=lambda token: chances[token].item())
    chances = _chances(model, [*row, likeliest])
    yes, no = (chances[ids].sum().item() for ids in model._styles)
    return sums[1] / sum(sums), sum(sums), yes / (yes + no)


def _chances(model: LocalModel, row: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model.model(input_ids=torch.tensor([row])).logits[0, -1].float().softmax(-1)


if __name__ == "__main__":
    for line in sys.stdin:
        told = json.loads(line)
        print(
            "\nRESULT " + json.dumps({"make": make, "verdicts": verdicts, "look": look}[told["do"]](told)), flush=True
        )
