"""The game as OpenRLHF's `--train.agent_func_path`: a thin adapter, and the only importer of openrlhf.

OpenRLHF calls `execute` n_samples_per_prompt times at once for one prompt, all in one actor and with one and the same
`sampling_params` object, and wants one trajectory from each call. The first call to arrive starts the games; each call
returns its own seat. It raises only if the rollout engine is gone, since that ends the trainer, and never changes
`sampling_params`.
"""

import asyncio
import sys
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # OpenRLHF loads this file by its path alone

from openrlhf.utils.agent import AgentExecutorBase  # noqa: E402

from medical_team import agent_settings, data, prompts  # noqa: E402
from medical_team.frozen import Sampling  # noqa: E402
from medical_team.game import Game, PromptTooLong, Table, assess, play  # noqa: E402
from medical_team.judge.probing import MODELS, Prober  # noqa: E402
from medical_team.opponents import Opponents, against, seats  # noqa: E402
from medical_team.records import GameLog, GameRecord, stream  # noqa: E402
from medical_team.scoring import Bookkeeper, numbers  # noqa: E402
from medical_team.types import Reply, Sample  # noqa: E402

PLAYS_OF_A_TIE = 3
"""How often a game is played before its tie is accepted. A dropped tie is replaced by a fresh play of the same sample, so
that a batch keeps its size; one that stays teaches nothing."""


@dataclass(frozen=True, kw_only=True)
class Rollout(Reply):
    """A reply, with what the trainer needs of it."""

    prompt_ids: list[int]
    reply_ids: list[int]
    logprobs: list[float] | None
    """One per reply token."""


class Policy:
    """The model in training, through the actor's own vLLM engine."""

    def __init__(self, sampling_params, max_length: int, tokenizer, engine):
        self._params, self._max_length, self._tokenizer, self._engine = sampling_params, max_length, tokenizer, engine

    @property
    def sampling(self) -> Sampling:
        params = self._params
        return Sampling(params.temperature, params.top_p, params.max_tokens or self._max_length // 2)

    async def silence(self) -> Rollout:
        """One token after a bare end token, for a game that could not be played: the trainer takes no empty reply.

        It is sampled like any other: with a probability made up, one such game would put the step's vllm_kl where that of
        a dead weight sync is.
        """
        return await self._sample([self._tokenizer.eos_token_id], 1)

    async def reply(self, messages: list[dict[str, str]], cot: bool) -> Rollout:
        prompt_ids = prompts.tokens(self._tokenizer, messages, cot)
        room = self._max_length - len(prompt_ids)
        if room < (self._params.max_tokens or 1):
            raise PromptTooLong(f"prompt too long: {len(prompt_ids)} tokens leave {room} for a reply")
        return await self._sample(prompt_ids, self._params.max_tokens or room)

    async def _sample(self, prompt_ids: list[int], most: int) -> Rollout:
        started = time.perf_counter()
        params = deepcopy(self._params)
        params.max_tokens = most
        output = (await self._engine.generate(prompt_ids, params)).outputs[0]
        reply_ids = list(output.token_ids)
        return Rollout(
            text=self._tokenizer.decode(reply_ids, skip_special_tokens=True),
            tokens=len(reply_ids),
            truncated=output.finish_reason == "length",
            latency_ms=(time.perf_counter() - started) * 1000,
            prompt_ids=prompt_ids,
            reply_ids=reply_ids,
            logprobs=_logprobs(reply_ids, output.logprobs) if params.logprobs is not None else None,
        )


def _logprobs(reply_ids: list[int], candidates) -> list[float]:
    return [known[token].logprob for token, known in zip(reply_ids, candidates, strict=True)]


@dataclass(eq=False)
class _Calls:
    """The concurrent calls of one prompt."""

    task: asyncio.Task
    count: int = 0


class AgentExecutor(AgentExecutorBase):
    def __init__(self):
        self.settings, self.config = agent_settings.from_environment()
        self.judge = self.settings.judge.load(self.settings.games.parent)
        self.books = Bookkeeper(self.settings, self.config.remove_ties)
        if self.settings.start_step:
            self.books.replay(stream(self.settings.games))
        self.log = GameLog(self.settings.games, self.settings.writer)
        share = self.settings.judge.probe_share if self.settings.judge.asks_a_model else 0.0
        folder, writer = self.settings.games.parent / "probes", self.settings.writer
        self.prober = Prober(self.judge, share, folder, self.settings.run, self.settings.attempt, writer)
        self._probes: set[asyncio.Task] = set()
        self.opponents = Opponents(self.settings)
        self._calls: dict[int, _Calls] = {}

    async def execute(self, prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images=None):
        """One trajectory of one seat, as OpenRLHF's dict."""
        key = id(sampling_params)  # unique among the prompts in flight, even for equal prompts
        if key not in self._calls:
            policy = Policy(sampling_params, max_length, hf_tokenizer, llm_engine)
            self._calls[key] = _Calls(asyncio.ensure_future(self._play_all(key, label, policy)))
        calls = self._calls[key]
        seat, calls.count = calls.count, calls.count + 1
        trajectories = await asyncio.shield(calls.task)
        return {"prompt": prompt, "label": label, "images": None, "mm_train_inputs": None} | trajectories[seat]

    async def _play_all(self, key: int, label: str, policy: Policy) -> list[dict]:
        """Trajectories for every call of the prompt: they were all queued before this task, so all have been counted."""
        wanted = self._calls.pop(key).count
        mode, sample = data.read_label(label)
        step = self.books.step_of(mode)
        tables = [Table(policy, policy, self.judge, self.config, self.settings.style)]
        if mode == "train" and (opponent := self.opponents.draw(sample, step, self.config)):
            tables = against(tables[0], opponent, self.config)
        games = [
            self._play_out(table, mode, step, sample)
            for table in tables
            for _ in range(-(-wanted // len(tables) // seats(table, mode)))
        ]
        return [trajectory for game in await asyncio.gather(*games) for trajectory in game]

    async def _play_out(self, table: Table, mode: str, step: int, sample: Sample) -> list[dict]:
        """Plays, replaces ties if they are to be removed, and writes every play down."""
        for _ in range(PLAYS_OF_A_TIE):
            started = time.time()
            try:
                game = await (assess if mode == "eval" else play)(table, sample)
            except Exception as error:  # raised from here it would end the whole run; the record says what happened
                why = str(error) if isinstance(error, PromptTooLong) else f"error: {type(error).__name__}: {error}"
                record = self.books.broken(sample, mode, step, started, time.time(), why, table.opponent)
                self.log.append(record)
                return [_trajectory(record, None, await self._silence(table))] * seats(table, mode)
            record = self.books.record(game, mode, step, started, time.time(), table.opponent)
            self.log.append(record)
            self._probe(game, mode, step)
            if game.valid or not self.config.remove_ties:
                break
        if record.drop_reason:
            return [_trajectory(record, None, await self._silence(table))] * seats(table, mode)
        return [
            _trajectory(record, turn, seat.turn.reply)
            for turn, seat in zip(record.turns, game.seats, strict=True)
            if turn.trained or mode == "eval"
        ]

    @staticmethod
    async def _silence(table: Table) -> Rollout:
        """Of the policy in training, whichever seat it has."""
        return await next(player for player in (table.attacker, table.assessor) if isinstance(player, Policy)).silence()

    def _probe(self, game: Game, mode: str, step: int) -> None:
        """Beside the games: nobody waits for it."""
        if mode == "train" and game.verdict.source in MODELS and (probe := self.prober.draw(game.sample)):
            task = asyncio.ensure_future(self.prober.put(probe, game.sample, step))
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)


def _trajectory(record: GameRecord, turn, rollout: Rollout) -> dict:
    start, end = len(rollout.prompt_ids), len(rollout.prompt_ids) + len(rollout.reply_ids)
    reward = turn.sent_reward if turn else 0.0
    return {
        "reward": reward,
        "scores": reward,
        "observation_tokens": rollout.prompt_ids + rollout.reply_ids,
        "action_ranges": [(start, end)],
        "rollout_log_probs": None if rollout.logprobs is None else [0.0] * start + rollout.logprobs,
        "truncated": bool(rollout.truncated),
        "extra_logs": numbers(record, turn),
    }
