"""Slow filters, evaluated in their own threads so that no other request waits for one."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from functools import partial

from super_advanced_agents._runtime.concurrency.budget import Budget, spending
from super_advanced_agents._runtime.queues.batcher import Workers
from super_advanced_agents.errors import OverloadedError, ResourceClosedError
from super_advanced_agents.stores.faiss.state import State
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.stores.records.scope import Scope

_MAX_QUEUED = 8_192


class SlowFilters:
    """Evaluate slow metadata filters in threads, before their requests enter a shared queue."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._workers = Workers(name="store filters", threads=2, max_queue=_MAX_QUEUED)

    async def evaluate_ahead(
        self, scope: Scope | None, tree: Filter | None, budget: Budget
    ) -> AbstractContextManager[object]:
        """Evaluate a metadata filter in advance if it is slow, and return a context manager.

        A request that is queued inside the context reuses the result, and evaluates the filter only for rows added
        since.
        """
        number = self._state.scope_id(scope)
        if tree is None or not self._state.index.is_slow(number, tree):
            return nullcontext()
        with ExitStack() as stack:
            stack.enter_context(self._state.index.keep_progress(number, tree))
            await self._workers.submit(partial(self._prepare, scope, tree, budget))
            return stack.pop_all()

    def _prepare(self, scope: Scope | None, tree: Filter, budget: Budget) -> None:
        with spending([budget]):
            self._state.prepare(scope, tree)

    def free_memory(self, scope: Scope | None) -> None:
        """Free the memory of the tenant's deleted rows in the background, if it is worth the work.

        Returns at once; never fails. `scope` is a namespace of the tenant.
        """
        number = self._state.scope_id(scope)
        if self._state.index.has_dead_metadata(number):
            with suppress(OverloadedError, ResourceClosedError):  # the next filter or delete does it
                self._workers.submit(partial(self._state.index.drop_dead_metadata, number))

    def close(self) -> None:
        """Evaluate the queued filters, then stop the threads."""
        self._workers.close()
