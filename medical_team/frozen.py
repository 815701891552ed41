"""A frozen player: a model that is not in training, through transformers, in the rollout process itself."""

import asyncio
import time
from dataclasses import dataclass
from typing import NamedTuple

from medical_team import prompts
from medical_team.types import Reply


class Sampling(NamedTuple):
    """How a player's replies are drawn. Temperature 0 is greedy."""

    temperature: float
    top_p: float
    most_tokens: int


class FrozenModel:
    """Loads once, replies in batches made of the games that wait at the same moment."""

    def __init__(self, name: str):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

        self.tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16).to(device).eval()
        ends = self._model.generation_config.eos_token_id or self.tokenizer.eos_token_id
        self._ends = ends if isinstance(ends, list) else [ends]
        # The policy samples in vLLM without the penalties and filters that a model's own settings may have.
        self._model.generation_config = GenerationConfig(
            eos_token_id=self._ends, pad_token_id=self.tokenizer.pad_token_id
        )
        self._waiting: list[_Wish] = []
        self._batching: asyncio.Task | None = None

    def player(self, sampling: Sampling) -> "FrozenPlayer":
        return FrozenPlayer(self, sampling)

    async def reply(self, prompt_ids: list[int], sampling: Sampling) -> tuple[list[int], bool]:
        """Reply ids, and whether the reply ran into `sampling.most_tokens`."""
        wish = _Wish(prompt_ids, sampling, asyncio.get_running_loop().create_future())
        self._waiting.append(wish)
        if self._batching is None or self._batching.done():
            self._batching = asyncio.ensure_future(self._serve())
        return await wish.answer

    async def _serve(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # let every game that is ready now join the batch
            batch, self._waiting = self._waiting, []
            try:
                replies = await asyncio.to_thread(self._generate, batch)
            except Exception as error:
                for wish in batch:
                    wish.answer.set_exception(error)
                continue
            for wish, reply in zip(batch, replies, strict=True):
                wish.answer.set_result(reply)

    def _generate(self, batch: "list[_Wish]") -> list[tuple[list[int], bool]]:
        import torch

        inputs = self.tokenizer.pad({"input_ids": [wish.prompt_ids for wish in batch]}, return_tensors="pt")
        inputs = inputs.to(self._model.device)
        temperature, top_p, _ = batch[0].sampling
        most = max(wish.sampling.most_tokens for wish in batch)
        how = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0} if temperature else {}
        with torch.inference_mode():
            output = self._model.generate(**inputs, max_new_tokens=most, **how)
        return [self._until_its_end(row) for row in output[:, inputs["input_ids"].shape[1] :].tolist()]

    def _until_its_end(self, row: list[int]) -> tuple[list[int], bool]:
        end = next((place for place, token in enumerate(row) if token in self._ends), None)
        return (row, True) if end is None else (row[:end], False)


@dataclass(eq=False)
class _Wish:
    prompt_ids: list[int]
    sampling: Sampling
    answer: asyncio.Future


@dataclass(frozen=True)
class FrozenPlayer:
    model: FrozenModel
    sampling: Sampling

    async def reply(self, messages: list[dict[str, str]], cot: bool) -> Reply:
        started = time.perf_counter()
        prompt_ids = prompts.tokens(self.model.tokenizer, messages, cot)
        ids, truncated = await self.model.reply(prompt_ids, self.sampling)
        text = self.model.tokenizer.decode(ids, skip_special_tokens=True)
        return Reply(text, len(ids), truncated, (time.perf_counter() - started) * 1000)
