"""Threads of their own for filters that take long, so that nothing else waits for one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from super_advanced_agents._runtime.batcher import Workers
from super_advanced_agents._runtime.futures import Future
from super_advanced_agents.stores.faiss.rows.batch import Scope
from super_advanced_agents.stores.faiss.state import State
from super_advanced_agents.stores.filters import Filter

Result = TypeVar("Result")

_MAX_QUEUED = 8_192


class SlowFilters:
    """Evaluates a slow filter before the work that needs it is queued where others wait."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._workers = Workers(name="store filters", threads=2, max_queue=_MAX_QUEUED)

    async def submit(self, scope: Scope | None, tree: Filter | None, submit: Callable[[], Future[Result]]) -> Result:
        """Return the result of what `submit` queues; it has only what is new since to evaluate itself."""
        if tree is None or not self._state.index.is_slow(tree):
            return await submit()
        with self._state.index.progress_kept(tree):
            await self._workers.submit(partial(self._state.prepare, scope, tree))
            return await submit()

    def close(self) -> None:
        """Finish what is queued."""
        self._workers.close()
