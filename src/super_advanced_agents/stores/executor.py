"""The base class of store engines: one abstract method that executes a request."""

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

_MAX_INLINE_RECORDS = 64
_MAX_QUEUED_VALIDATIONS = 64


class RequestExecutor(Resource, ABC):
    """Build, validate and execute requests; `VectorStore` adds the public operations."""

    def __init__(self) -> None:
        super().__init__()
        self._bounds: Bounds | None = None
        self._validation_workers: Workers | None = None

    @property
    @abstractmethod
    def dim(self) -> int:
        """The length of every vector."""

    @property
    def limits(self) -> Limits:
        """The limits that the arguments of one call must meet."""
        return LIMITS

    @abstractmethod
    async def _execute(self, request: Request[R]) -> R:
        """Execute a validated request and return its result; every engine implements this method.

        The store is open, and the request was validated against `_abounds()` when it was made. An implementation
        awaits only futures of `_runtime.futures`, so that a thread can drive it as well as an event loop.
        """

    def _version(self, tenant: str, namespace: str | None) -> int | None:
        """Return the `version` of a tenant's namespace; None when the engine keeps no versions.

        Without a namespace it is the version of the whole store.
        """
        return None

    async def _abounds(self) -> Bounds:
        """Return the vector length and size limits that requests are validated against.

        A client of a remote store asks its server for them.
        """
        dim = self.dim
        if self._bounds is None or self._bounds.dim != dim:
            self._bounds = Bounds(dim=dim, limits=self.limits)
        return self._bounds

    async def amake(self, make: Callable[[Bounds], Value], size: int = 1) -> Value:
        """Build a request, validated against this store's vector length and size limits.

        Args:
            make: called with the bounds; returns the request.
            size: the number of records in the request. Validating 1,000 takes 5 to 25 ms, so large requests are
                validated in a thread.
        """
        bounds = await self._abounds()
        return await self._off_loop(partial(make, bounds), size)

    async def _off_loop(self, work: Callable[[], Value], size: int) -> Value:
        if size <= _MAX_INLINE_RECORDS or driven_by_thread():
            return work()
        with self._closing:
            if self._validation_workers is None:
                self._validation_workers = Workers(
                    name="store validation", threads=1, max_queue=_MAX_QUEUED_VALIDATIONS
                )
        return await self._validation_workers.submit(work)

    def _release(self) -> None:
        """Close the validation thread; subclasses that own more resources extend this method."""
        if self._validation_workers is not None:
            self._validation_workers.close()

    def version(self, namespace: str | None = None) -> int | None:
        """Return a number for cache keys that changes whenever search results may change.

        Read the version before searching: the results are then as new as the version, or newer. It changes after a
        write becomes visible and before that write is acknowledged, and when a record expires. Reading it takes a
        microsecond or two and never waits. BM25 scores may also shift a little with writes to other namespaces, which
        do not change this namespace's version.

        Args:
            namespace: the namespace of the cached searches; None for searches of all namespaces.

        Returns:
            The version, or None when it is unknown, as it is for a remote store: results must not be cached then.
        """
        self._check_open()
        return self._version("", namespace)

    async def _perform(self, make: Callable[[Bounds], Request[R]], size: int = 1) -> R:
        """Build and validate a request, execute it, and return its result."""
        self._check_open()
        return await self._execute(await self.amake(make, size))

    async def aexecute(self, request: Request[R]) -> R:
        """Execute a request that was validated for this store, and return its result."""
        self._check_open()
        return await self._execute(request)
