"""`DeferredStore`: a store that is opened when an operation needs it, off the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from super_advanced_agents._runtime.concurrency.futures import Future, in_thread, set_exceptions, set_results
from super_advanced_agents.config import LIMITS, Limits
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.requests import Bounds, Request

R = TypeVar("R")
Value = TypeVar("Value")


class DeferredStore(VectorStore):
    """Open a store in a thread when it is first used, and own it from then on.

    A constructor of a store in a folder reads its files, which would block an event loop. Callers that come while the
    store is being opened wait for the same opening; one that is cancelled does not disturb it. Where it fails, all of
    them get the error, and the next operation tries again.

    Args:
        open_: opens the store; it may block.
    """

    def __init__(self, open_: Callable[[], VectorStore]) -> None:
        super().__init__()
        self._open = open_
        self._opening = threading.Lock()
        self._waiters_lock = threading.Lock()
        self._waiters: list[Future[VectorStore]] = []
        self._store: VectorStore | None = None

    def opened(self) -> VectorStore:
        """Return the store; the first call opens it and blocks meanwhile.

        Raises:
            ResourceClosedError: this object is closed.
            SuperAdvancedAgentsError: the store cannot be opened.
        """
        with self._opening:
            self._check_open()
            if self._store is None:
                self._store = self._open()
            return self._store

    async def aopened(self) -> VectorStore:
        """Return the store; the first call opens it in a thread. Raises the errors of `opened`."""
        self._check_open()
        store = self._store
        return store if store is not None else await self._join_opening()

    def _join_opening(self) -> Future[VectorStore]:
        future: Future[VectorStore] = Future()
        with self._waiters_lock:
            self._waiters.append(future)
            first = len(self._waiters) == 1
        if first:
            in_thread(self._open_for_waiters, name="open a store")
        return future

    def _open_for_waiters(self) -> None:
        try:
            store = self.opened()
        except BaseException as exc:
            set_exceptions(self._taken_waiters(), exc)
        else:
            set_results((waiter, store) for waiter in self._taken_waiters())

    def _taken_waiters(self) -> list[Future[VectorStore]]:
        with self._waiters_lock:
            waiters, self._waiters = self._waiters, []
        return waiters

    @property
    def dim(self) -> int:
        """The dimension of the store's vectors; the store is opened to know it."""
        return self.opened().dim

    @property
    def limits(self) -> Limits:
        """The size limits for the arguments of one call; the default ones before the opening."""
        return LIMITS if self._store is None else self._store.limits

    async def _execute(self, request: Request[R]) -> R:
        return await (await self.aopened()).aexecute(request)

    def _version(self, tenant: str, namespace: str | None) -> int | None:
        return None if self._store is None else self._store._version(tenant, namespace)

    async def _aversion(self, tenant: str, namespace: str | None) -> int | None:
        return None if self._store is None else await self._store._aversion(tenant, namespace)

    async def _abounds(self) -> Bounds:
        return await (await self.aopened())._abounds()

    async def acompute(self, work: Callable[[], Value], size: int) -> Value:
        """Run a computation as the opened store does: in its thread when `size` is large."""
        return await (await self.aopened()).acompute(work, size)

    def check_files(self) -> None:
        """Check that no file of the opened store was deleted or replaced."""
        if self._store is not None:
            self._store.check_files()

    def _release(self) -> None:
        with self._opening:  # an opening under way ends first
            store, self._store = self._store, None
        if store is not None:
            store.close()
