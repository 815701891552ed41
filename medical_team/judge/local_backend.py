"""The judge model of this process, asked by many games at once."""

import asyncio
from collections.abc import Callable

from medical_team.judge import Question
from medical_team.judge.answers import Answer, Mode
from medical_team.judge.batcher import Batcher
from medical_team.judge.local import LocalModel, Options
from medical_team.judge.settings import JudgeSettings


class LocalBackend:
    """Errors of `ask`: JudgeError.

    `name_of` is asked once the model is here: a hub's model is downloaded by loading it, and is named by its files.
    """

    def __init__(
        self,
        settings: JudgeSettings,
        name_of: Callable[[JudgeSettings], str],
        load: Callable[[Options], LocalModel] = LocalModel,
    ):
        self.model = load(
            Options(
                settings.model, settings.device, settings.precision, settings.batch_size, settings.batch_tokens,
                settings.explain_tokens,
            )
        )  # fmt: skip
        self.name = name_of(settings)
        self.most, self.wait = settings.batch_size, settings.batch_wait_ms / 1000
        """Of a batch: questions, and seconds until it starts."""
        self._batchers: dict[Mode, Batcher[Question, Answer]] = {
            "logit": Batcher(lambda asked: self.model.answers(asked, "logit"), self.most, self.wait),
            "explain": Batcher(lambda asked: self.model.answers(asked, "explain"), self.most, self.wait),
        }
        self._sleep_after, self._asked, self._bedtime = settings.sleep_after_s, 0, None
        if self._sleep_after:
            self.model.sleep()  # a run may play for long before the first note needs a judge

    async def ask(self, question: Question, mode: Mode) -> Answer:
        self._asked += 1
        if self._bedtime:
            self._bedtime.cancel()
        try:
            return await self._batchers[mode].ask(question)
        finally:
            self._asked -= 1
            if self._sleep_after and not self._asked:
                loop = asyncio.get_running_loop()
                self._bedtime = loop.call_later(self._sleep_after, self._go_to_sleep, loop)

    async def close(self) -> None:
        if self._bedtime:
            self._bedtime.cancel()

    def _go_to_sleep(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.run_in_executor(None, self.model.sleep)
