"""Models in vLLM, for an evaluation. Runs in the engine's interpreter; torch and vLLM are imported where they are needed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from medical_team import evaluation as ev
from medical_team import prompts
from medical_team.evaluation import How, Job, Player

CHUNK = 128
"""Replies after which progress is told."""


class Told(Protocol):
    def tell(self, doing: str, more: int = 0) -> None:
        """So many replies more were made."""


WEIGHTS = "mp_rank_00_model_states.pt"


class Reply(NamedTuple):
    text: str
    tokens: int
    truncated: bool


class Asked(NamedTuple):
    """One prompt and how to answer it."""

    messages: list[dict[str, str]]
    how: How


class Model:
    """A player's model in vLLM."""

    def __init__(self, player: Player, folder: str, job: Job, asked: Sequence[Asked]):
        from transformers import AutoTokenizer
        from vllm import LLM

        self._player, self._job = player, job
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._prompts = [prompts.tokens(self._tokenizer, one.messages, player.thinking) for one in asked]
        longest = max(map(len, self._prompts)) + job.most_tokens
        on_gpu = {"gpu_memory_utilization": job.gpu_share} if job.device == "cuda" else {"enforce_eager": True}
        self._llm = LLM(
            folder, tokenizer=folder, dtype="bfloat16", seed=job.seed, max_model_len=longest, disable_log_stats=True,
            **on_gpu,
        )  # fmt: skip

    def replies(self, asked: Sequence[Asked], report: Told, doing: str) -> list[Reply]:
        """In the order of `asked`, which are those that it was made for."""
        replies = []
        for start in range(0, len(asked), CHUNK):
            some = asked[start : start + CHUNK]
            found = self._llm.generate(
                [{"prompt_token_ids": ids} for ids in self._prompts[start : start + CHUNK]],
                [self._sampling(one) for one in some], use_tqdm=False,
            )  # fmt: skip
            replies += map(self._reply, found)
            report.tell(doing, len(some))
        return replies

    def _sampling(self, asked: Asked):
        from vllm import SamplingParams

        job = self._job
        temperature, top_p = (job.temperature, job.top_p) if asked.how is How.SAMPLED else (0.0, 1.0)
        return SamplingParams(temperature=temperature, top_p=top_p, top_k=-1, min_p=0.0, max_tokens=job.most_tokens)

    def _reply(self, output) -> Reply:
        said = output.outputs[0]
        text = self._tokenizer.decode(list(said.token_ids), skip_special_tokens=True)
        return Reply(text, len(said.token_ids), said.finish_reason == "length")

    def close(self) -> None:
        self._llm.llm_engine.engine_core.shutdown()
        del self._llm


@contextmanager
def loaded(player: Player, folder: Path, job: Job, asked: Sequence[Asked]) -> Iterator[Model]:
    source = player.model
    if player.checkpoint:
        source = str(with_weights(player, folder / ev.MODELS / str(job.players.index(player))))
    model = Model(player, source, job, asked)
    try:
        yield model
    finally:
        model.close()


def with_weights(player: Player, out: Path) -> Path:
    """The player's model with the weights of the trainer's checkpoint, written to `out` unless it is there already.

    DeepSpeed keeps all weights of ZeRO stages 0 to 2 in one file. Errors: ValueError for a checkpoint of stage 3, whose
    file has none.
    """
    if (out / "config.json").exists():
        return out
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    held = torch.load(player.checkpoint / WEIGHTS, map_location="cpu", weights_only=False)["module"]
    model = AutoModelForCausalLM.from_pretrained(player.model, dtype=torch.bfloat16)
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    if {name: value.shape for name, value in held.items()} != wanted:
        raise ValueError(
            f"{player.checkpoint} does not hold the weights of {player.model}: ZeRO stage 3 keeps them in parts; "
            "set checkpoint.huggingface for such runs"
        )
    model.load_state_dict(held)
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(player.model).save_pretrained(out)
    return out
