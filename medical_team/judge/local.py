"""A judge model in this process, through transformers: any causal or image-text-to-text model, on a GPU or the CPU.

`logit` runs one forward pass over a batch and reads the probabilities of the answer's letters; a second step of one token
a row reads the second letter. `explain` lets the model write its reason first. For the engine's interpreter.
"""

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from medical_team.judge import Question, hub_model
from medical_team.judge.answers import Answer, Meaning, Mode, Odds, prompt, read_explained
from medical_team.judge.bed import Bed
from medical_team.judge.hub_model import Precision
from medical_team.judge.likeliest import Likeliest
from medical_team.judge.model_files import JudgeError, load_error

MEANINGS, STYLES = tuple(Meaning), ("Y", "N")


@dataclass(frozen=True)
class Options:
    """How a model is loaded and batched."""

    model: str
    device: Literal["auto", "cuda", "cpu"] = "auto"
    precision: Precision = "bf16"
    batch_size: int = 64
    """Most questions in one pass."""
    batch_tokens: int = 32768
    """Most tokens in one pass, padding included."""
    explain_tokens: int = 80
    """Most tokens of a written reason."""


@dataclass(frozen=True)
class Completion:
    text: str
    tokens: tuple[int, ...]
    likeliest: tuple[tuple[tuple[int, float], ...], ...]
    """For each token the likeliest ids in its place, with log probabilities."""


class LocalModel:
    """Loads once. `answers` may be called from any thread, and works one call at a time.

    Errors: JudgeError for a model that cannot be had or used, and for a batch of one that does not fit in memory.
    """

    def __init__(self, options: Options):
        import torch

        self.options, self._turn = options, threading.Lock()
        wanted = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(wanted)
        try:
            self.tokenizer, self.model, self._ends = hub_model.load(options.model, options.precision, self.device)
        except Exception as error:
            raise load_error(options.model, error) from error
        self._meanings = [hub_model.variants(self.tokenizer, letter) for letter in MEANINGS]
        self._styles = [hub_model.variants(self.tokenizer, letter) for letter in STYLES]
        self._bed = None
        self._instructions = _common(*[self.prompt_ids(Question(text, "", text), "logit") for text in ("a", "1")])
        self._instructions_cache = None

    def answers(self, questions: list[Question], mode: Mode) -> list[Answer]:
        """One answer per question, in their order."""
        import torch

        with self._at_work(), torch.inference_mode():
            rows = [self.prompt_ids(question, mode) for question in questions]
            return self._explained(rows) if mode == "explain" else [Answer(odds) for odds in self._odds(rows)]

    def prompt_ids(self, question: Question, mode: Mode) -> list[int]:
        return self.chat_ids([("user", prompt(question, mode))])

    def chat_ids(self, messages: list[tuple[str, str]]) -> list[int]:
        """Roles and texts in the model's chat template, with one beginning token if it has any."""
        tokenizer = self.tokenizer
        chat = [
            {"role": role, "content": hub_model.harmless(text, tokenizer.all_special_tokens)} for role, text in messages
        ]
        if tokenizer.chat_template:
            text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        else:
            text = "\n\n".join(message["content"] for message in chat) + "\n"
        return hub_model.begin_once(tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"])

    def complete(self, rows: list[list[int]], most_tokens: int, top: int = 0) -> list[Completion]:
        """Greedy continuations, each with the `top` likeliest tokens at every place."""
        import torch

        with self._at_work(), torch.inference_mode():
            found: list[Completion | None] = [None] * len(rows)
            for chunk in self._chunks(rows, most_tokens):
                some = self._fitting(lambda part: self._complete(part, most_tokens, top), [rows[i] for i in chunk])
                for index, completion in zip(chunk, some, strict=True):
                    found[index] = completion
            return found

    def sleep(self) -> None:
        """Gives the GPU's memory back; the weights stay in pinned memory of the CPU. The next question wakes it."""
        with self._turn:
            if self.device.type == "cuda" and not self.asleep:
                self._instructions_cache = None
                self._bed = self._bed or Bed(self.model)
                self._bed.lie_down()

    def wake(self) -> None:
        with self._at_work():
            pass

    @property
    def shared_tokens(self) -> int:
        """Tokens that every prompt begins with."""
        return len(self._instructions)

    @property
    def asleep(self) -> bool:
        return self._bed is not None and self._bed.taken

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Alone with the model, and awake."""
        with self._turn:
            if self.asleep:
                self._bed.get_up(self.device)
            yield

    def _odds(self, rows: list[list[int]]) -> list[Odds]:
        found: list[Odds | None] = [None] * len(rows)
        for chunk in self._chunks(rows):
            for index, odds in zip(chunk, self._fitting(self._forward, [rows[i] for i in chunk]), strict=True):
                found[index] = odds
        return found

    def _explained(self, rows: list[list[int]]) -> list[Answer]:
        """A reason is written by all; those that end it with two letters are asked again, how sure they are of them."""
        texts: list[str] = [""] * len(rows)
        for chunk in self._chunks(rows, self.options.explain_tokens):
            for index, text in zip(chunk, self._fitting(self._generate, [rows[i] for i in chunk]), strict=True):
                texts[index] = text
        read = [read_explained(text) for text in texts]
        sure = [index for index, (letters, _) in enumerate(read) if letters]
        again = [rows[index] + self._before_letters(texts[index]) for index in sure]
        odds = dict(zip(sure, self._odds(again), strict=True))
        return [Answer(odds.get(index), letters, reason, texts[index]) for index, (letters, reason) in enumerate(read)]

    def _before_letters(self, text: str) -> list[int]:
        return self.tokenizer(text.rstrip()[: text.rstrip().rindex(":") + 1], add_special_tokens=False)["input_ids"]

    def _chunks(self, rows: list[list[int]], more: int = 0) -> list[list[int]]:
        """Indexes of the rows, longest first, in batches of at most `batch_size` rows and `batch_tokens` tokens."""
        chunks, width = [], 0
        for index in sorted(range(len(rows)), key=lambda index: -len(rows[index])):
            full = not chunks or len(chunks[-1]) == self.options.batch_size
            if full or (len(chunks[-1]) + 1) * width > self.options.batch_tokens:
                chunks.append([])
                width = len(rows[index]) + more
            chunks[-1].append(index)
        return chunks

    def _fitting(self, work, rows: list[list[int]]) -> list:
        """What `work` answers; where memory runs out, in halves."""
        import torch

        try:
            return work(rows)
        except torch.OutOfMemoryError as error:
            if len(rows) == 1:
                text = f"{self.options.model} has no room for one question of {len(rows[0])} tokens"
                raise JudgeError(f"{text}: lower memory.vllm_share, or move the judge to another device") from error
        torch.cuda.empty_cache()
        half = len(rows) // 2
        return self._fitting(work, rows[:half]) + self._fitting(work, rows[half:])

    def _forward(self, rows: list[list[int]]) -> list[Odds]:
        import torch

        shared = self._shared(rows)
        ids, mask = self._padded([row[shared:] for row in rows])
        past = None
        if shared:
            past = self._prefix(len(rows))
            mask = torch.cat([mask.new_ones(len(rows), shared), mask], dim=1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        out = self._step(ids, mask, positions[:, shared:], past)
        meaning, choice = self._read(out, self._meanings)
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        out = self._step(choice[:, None], mask, positions[:, -1:] + 1, out.past_key_values)
        style, _ = self._read(out, self._styles)
        return [
            Odds(*one[:-1], mass=one[-1], realistic=other[0], realistic_mass=other[-1])
            for one, other in zip(meaning.tolist(), style.tolist(), strict=True)
        ]

    def _step(self, ids, mask, positions, past):
        return self.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=past, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip

    def _read(self, out, letters: list[list[int]]):
        """Each letter's share of their common probability, and that probability; and each row's likeliest letter token."""
        import torch

        chances = out.logits[:, -1].float().softmax(-1)
        sums = torch.stack([chances[:, ids].sum(-1) for ids in letters], dim=1)
        mass = sums.sum(1, keepdim=True)
        tokens = torch.tensor([token for ids in letters for token in ids], device=chances.device)
        shares = sums / mass.clamp(min=torch.finfo(mass.dtype).tiny)
        return torch.cat([shares, mass], dim=1), tokens[chances[:, tokens].argmax(1)]

    def _shared(self, rows: list[list[int]]) -> int:
        """How many tokens of the instructions all rows begin with; 0 where a cache of them would not be exact."""
        shared = len(self._instructions)
        alike = all(row[:shared] == self._instructions and len(row) > shared for row in rows)
        window = getattr(self.model.config.get_text_config(), "sliding_window", None)
        fits = not window or max(map(len, rows)) <= window  # padding would push the instructions out of the window
        return shared if alike and fits else 0

    def _prefix(self, rows: int):
        """The cache of the instructions, once for each row."""
        import torch

        if self._instructions_cache is None:
            start = torch.tensor([self._instructions], device=self.device)
            mask = torch.ones_like(start)
            self._instructions_cache = self._step(start, mask, mask.cumsum(1) - 1, None).past_key_values
        past = copy.deepcopy(self._instructions_cache)
        past.batch_repeat_interleave(rows)
        return past

    def _padded(self, rows: list[list[int]]):
        """Ids and mask, padded on the left: every row's last token is the last column."""
        import torch

        width, pad = max(map(len, rows)), self._ends[0]
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        return ids.to(self.device), mask.to(self.device)

    def _generate(self, rows: list[list[int]]) -> list[str]:
        return [completion.text for completion in self._complete(rows, self.options.explain_tokens, 0)]

    def _complete(self, rows: list[list[int]], most_tokens: int, top: int) -> list[Completion]:
        ids, mask = self._padded(rows)
        likeliest = Likeliest(top)
        output = self.model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=most_tokens, logits_processor=[likeliest] if top else []
        )
        replies = [self._until_end(row) for row in output[:, ids.shape[1] :].tolist()]
        texts = self.tokenizer.batch_decode(replies, skip_special_tokens=True)
        places = likeliest.places() if top else []
        return [
            Completion(text, tuple(reply), tuple(tuple(place[index]) for place in places[: len(reply)]))
            for index, (text, reply) in enumerate(zip(texts, replies, strict=True))
        ]

    def _until_end(self, reply: list[int]) -> list[int]:
        return list(takewhile(lambda token: token not in self._ends, reply))


def _common(first: list[int], second: list[int]) -> list[int]:
    """What both begin with."""
    return [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))]
