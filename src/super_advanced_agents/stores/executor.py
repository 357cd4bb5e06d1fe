"""What a store engine implements: one method that does what a request asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from super_advanced_agents._runtime.batcher import Workers
from super_advanced_agents._runtime.futures import driven_by_thread
from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents.config import LIMITS, Limits
from super_advanced_agents.stores.requests import Bounds, Request

R = TypeVar("R")
Value = TypeVar("Value")

_CHECKED_AT_ONCE = 64
_MAX_QUEUED_CHECKS = 64


class RequestExecutor(Resource, ABC):
    """Check what a store takes, and do what requests ask for; `VectorStore` adds the public operations."""

    def __init__(self) -> None:
        super().__init__()
        self._bounds: Bounds | None = None
        self._checkers: Workers | None = None

    @property
    @abstractmethod
    def dim(self) -> int:
        """The length of every vector."""

    @property
    def limits(self) -> Limits:
        """How large one call may be."""
        return LIMITS

    @abstractmethod
    async def _execute(self, request: Request[R]) -> R:
        """Do what a request asks for, and return its result; the one method of an engine.

        The store is open, and the request was checked against `_abounds()` when it was made. Awaits nothing but
        futures, so that a thread can drive it, too.
        """

    def _version(self, tenant: str, namespace: str | None) -> int | None:
        """Return the version of a tenant's namespace, or of the whole store; None where it is not known."""
        return None

    async def _abounds(self) -> Bounds:
        """Return what this store takes; a client may have to ask its server first."""
        dim = self.dim
        if self._bounds is None or self._bounds.dim != dim:
            self._bounds = Bounds(dim=dim, limits=self.limits)
        return self._bounds

    async def amake(self, make: Callable[[Bounds], Value], size: int = 1) -> Value:
        """Make a request for this store, checked against what it takes.

        Args:
            make: makes it of these bounds.
            size: how many records it has; checking 1,000 takes 5 to 25 ms, so many are checked off the event loop.
        """
        bounds = await self._abounds()
        return await self._off_loop(partial(make, bounds), size)

    async def _off_loop(self, work: Callable[[], Value], size: int) -> Value:
        """Do something to n records, in a thread when they are many."""
        if size <= _CHECKED_AT_ONCE or driven_by_thread():
            return work()
        with self._closing:
            if self._checkers is None:
                self._checkers = Workers(name="store validation", threads=1, max_queue=_MAX_QUEUED_CHECKS)
        return await self._checkers.submit(work)

    def _release(self) -> None:
        """Free what checks requests; a subclass that owns more frees that too."""
        if self._checkers is not None:
            self._checkers.close()

    def version(self, namespace: str | None = None) -> int | None:
        """A number that is another one whenever searches may find something else: for whoever keeps what they found.

        Ask before searching: what is found is as new as the number, or newer. It moves once a write can be seen and
        before that write is acknowledged, and when a record expires. Moving costs the store nothing, asking a
        microsecond or two; it neither waits nor fails while the store is open. Scores by words may shift a little with
        writes elsewhere in the store, which do not count.

        Args:
            namespace: of searches there; of those everywhere when None.

        Returns:
            None where nobody knows, as behind a network: then nothing may be kept.
        """
        self._check_open()
        return self._version("", namespace)

    async def _perform(self, make: Callable[[Bounds], Request[R]], size: int = 1) -> R:
        """Make a request as `amake` does, and return its result; what every public operation does."""
        self._check_open()
        return await self._execute(await self.amake(make, size))

    async def aexecute(self, request: Request[R]) -> R:
        """Do what a request asks for, and return its result; the public operations below make requests for it."""
        self._check_open()
        return await self._execute(request)
