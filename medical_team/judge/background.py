"""An event loop in a thread of its own, for callers that have none: OpenRLHF calls reward functions from threads."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any


class Background:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="judge", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What `work` returns; other threads' work goes on beside it, and shares its batches."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
