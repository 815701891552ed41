"""Runs the agent as OpenRLHF's rollout actor does, with a scripted model. For the engine's interpreter.

Each line that it reads is a session: a JSON object, with the environment that a job would have; the line that it prints
is of what came out. `script` maps the last words of a
prompt's text to replies; a reply of None makes the engine fail.
"""

import asyncio
import json
import os
import sys
from types import SimpleNamespace

from vllm import SamplingParams

from medical_team.openrlhf_agent import AgentExecutor


class Tokenizer:
    """Every character is a token."""

    eos_token_id = 0

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        return "\n".join(message["content"] for message in messages) + "\n"

    def __call__(self, text, add_special_tokens):
        return {"input_ids": [ord(character) for character in text]}

    def decode(self, ids, skip_special_tokens):
        return "".join(map(chr, ids))


class Engine:
    def __init__(self, replies: dict[str, list]):
        self.replies, self.most_tokens = replies, []

    async def generate(self, ids, params):
        await asyncio.sleep(0)
        if ids == [Tokenizer.eos_token_id]:
            return self.sampled([Tokenizer.eos_token_id][: params.max_tokens], logprob=-7.0)
        self.most_tokens.append(params.max_tokens)
        params.max_tokens = 1  # what is done to it here must reach nobody
        role = "attacker" if "Attack:" in "".join(map(chr, ids)) else "assessor"
        reply = self.replies[role].pop(0)
        if reply is None:
            raise RuntimeError("the engine broke")
        return self.sampled([ord(character) for character in reply], logprob=-0.5)

    @staticmethod
    def sampled(tokens: list[int], logprob: float):
        logprobs = [{token: SimpleNamespace(logprob=logprob)} for token in tokens]
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=tokens, finish_reason="stop", logprobs=logprobs)])


async def session(asked: dict) -> dict:
    executor, engine = AgentExecutor(), Engine(asked["replies"])
    shared = [SamplingParams(max_tokens=200, temperature=1.0, logprobs=1) for _ in asked["rows"]]

    def call(row, params):
        return executor.execute(row["input"], row["label"], params, asked["max_length"], Tokenizer(), engine)

    prompts = [
        asyncio.gather(*[call(row, params) for _ in range(row["calls"])])
        for row, params in zip(asked["rows"], shared, strict=True)
    ]
    results = [await prompt for prompt in prompts] if asked.get("one_by_one") else await asyncio.gather(*prompts)
    return {
        "trajectories": results,
        "most_tokens": engine.most_tokens,
        "params_kept": all(params.max_tokens == 200 for params in shared),
        "groups_left": len(executor._calls),
    }


for line in sys.stdin:
    asked = json.loads(line)
    os.environ.update(asked["environment"])
    print("\nRESULT " + json.dumps(asyncio.run(session(asked))), flush=True)
