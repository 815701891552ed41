"""A frozen player: a model that is not in training, through transformers, in the rollout process itself."""

import asyncio
import time
from dataclasses import dataclass

from medical_team import prompts
from medical_team.types import Reply


class FrozenModel:
    """Loads once, replies in batches made of the games that wait at the same moment."""

    def __init__(self, name: str):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16).to(device).eval()
        self._waiting: list[_Wish] = []
        self._batching: asyncio.Task | None = None

    def player(self, temperature: float, most_tokens: int) -> "FrozenPlayer":
        return FrozenPlayer(self, temperature, most_tokens)

    async def reply(self, prompt_ids: list[int], temperature: float, most_tokens: int) -> tuple[list[int], bool]:
        """Reply ids, and whether the reply ran into `most_tokens`."""
        wish = _Wish(prompt_ids, temperature, most_tokens, asyncio.get_running_loop().create_future())
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

        end = self.tokenizer.eos_token_id
        inputs = self.tokenizer.pad({"input_ids": [wish.prompt_ids for wish in batch]}, return_tensors="pt")
        inputs = inputs.to(self._model.device)
        temperature, most = batch[0].temperature, max(wish.most_tokens for wish in batch)
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        with torch.inference_mode():
            output = self._model.generate(**inputs, max_new_tokens=most, eos_token_id=end, **sampling)
        rows = output[:, inputs["input_ids"].shape[1] :].tolist()
        return [(row[: row.index(end)], False) if end in row else (row, True) for row in rows]


@dataclass(eq=False)
class _Wish:
    prompt_ids: list[int]
    temperature: float
    most_tokens: int
    answer: asyncio.Future


@dataclass(frozen=True)
class FrozenPlayer:
    model: FrozenModel
    temperature: float
    most_tokens: int

    async def reply(self, messages: list[dict[str, str]], cot: bool) -> Reply:
        started = time.perf_counter()
        prompt_ids = prompts.tokens(self.model.tokenizer, messages, cot)
        ids, truncated = await self.model.reply(prompt_ids, self.temperature, self.most_tokens)
        text = self.model.tokenizer.decode(ids, skip_special_tokens=True)
        return Reply(text, len(ids), truncated, (time.perf_counter() - started) * 1000)
