"""An event loop that measures its own lag while it runs a benchmark."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_INTERVAL_S = 0.005


class SampledLoop:
    """An event loop that samples its lag every 5 ms while it runs."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self.lags_ms: list[float] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, and sample the lag meanwhile."""
        gc.collect()
        gc.freeze()  # a collection that walks the objects of PyTorch and similar libraries stalls the loop 200 ms
        return self._runner.run(self._sampled(work))

    def close(self) -> None:
        """Close the loop."""
        self._runner.close()

    async def _sampled(self, work: Coroutine[Any, Any, T]) -> T:
        sampler = asyncio.create_task(self._sample())
        try:
            return await work
        finally:
            sampler.cancel()

    async def _sample(self) -> None:
        due = time.perf_counter() + _INTERVAL_S
        while True:
            await asyncio.sleep(due - time.perf_counter())
            now = time.perf_counter()
            while due <= now:  # a stall of 50 ms made ten wake-ups late, not one
                self.lags_ms.append((now - due) * 1e3)
                due += _INTERVAL_S
