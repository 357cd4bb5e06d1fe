"""The base class of vector stores: it builds requests and passes them to `_execute`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from super_advanced_agents._runtime.concurrency.futures import driven_by_thread
from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents._runtime.queues.batcher import Workers
from super_advanced_agents.config import LIMITS, Limits
from super_advanced_agents.stores.requests import (
    AddRequest,
    Bounds,
    DeleteRequest,
    HybridSearchRequest,
    KeywordSearchRequest,
    PredicateSearchRequest,
    PutRequest,
    Request,
    SearchRequest,
    UpdateRequest,
)
from super_advanced_agents.telemetry import stage

R = TypeVar("R")
Value = TypeVar("Value")

_MAX_INLINE_RECORDS = 64
_MAX_QUEUED_VALIDATIONS = 64
_STAGES: dict[type[Request[Any]], str] = {
    **dict.fromkeys((SearchRequest, HybridSearchRequest, KeywordSearchRequest, PredicateSearchRequest), "search"),
    **dict.fromkeys((AddRequest, PutRequest, UpdateRequest, DeleteRequest), "write"),
}


def stage_of(request: Request[Any]) -> str:
    """Return the stage of a call that executes this request: `search`, `write` or `read`."""
    return _STAGES.get(type(request), "read")


def computes_inline(size: int) -> bool:
    """Return whether a computation on `size` records runs at once, in its caller's thread."""
    return size <= _MAX_INLINE_RECORDS or driven_by_thread()


class RequestExecutor(Resource, ABC):
    """Build, validate and execute requests, each of which describes one store operation.

    `VectorStore` adds the public operations, and a store engine implements `dim` and `_execute`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bounds: Bounds | None = None
        self._validation_workers: Workers | None = None

    @property
    @abstractmethod
    def dim(self) -> int:
        """The dimension of the store's vectors."""

    @property
    def limits(self) -> Limits:
        """The size limits for the arguments of one call, such as records per batch or bytes of text."""
        return LIMITS

    @abstractmethod
    async def _execute(self, request: Request[R]) -> R:
        """Execute a validated request, such as a `SearchRequest`, and return its result.

        The store is open, and the request was validated against `_abounds()` when it was made. An implementation
        awaits only futures of `_runtime.concurrency.futures`, so that a thread can drive it as well as an event loop.
        """

    def _version(self, tenant: str, namespace: str | None) -> int | None:
        # An engine that keeps no versions leaves this as it is. Namespace None asks for the whole store's version.
        return None

    async def _aversion(self, tenant: str, namespace: str | None) -> int | None:
        # An engine whose versions are on another machine overrides this, and leaves `_version` as it is.
        return self._version(tenant, namespace)

    async def _anamespaces(self, tenant: str, limit: int) -> list[str] | None:
        # An engine that cannot list them leaves this as it is.
        return None

    async def _atenants(self) -> list[str] | None:
        # An engine that cannot list them leaves this as it is.
        return None

    async def _abounds(self) -> Bounds:
        # A client of a remote store overrides this, to ask its server.
        dim = self.dim
        if self._bounds is None or self._bounds.dim != dim:
            self._bounds = Bounds(dim=dim, limits=self.limits)
        return self._bounds

    async def abuild_request(self, build: Callable[[Bounds], Value], size: int = 1) -> Value:
        """Build a request with this store's vector dimension and size limits.

        The request validates its arguments when it is built; a large one is built off the event loop.

        Args:
            build: called with the bounds; returns the request.
            size: the number of records in the request.

        Raises:
            InvalidInputError: an argument is out of bounds; `field` names it.
            OverloadedError: too many large requests are being built.
        """
        bounds = await self._abounds()
        return await self.acompute(partial(build, bounds), size)

    async def acompute(self, work: Callable[[], Value], size: int) -> Value:
        """Run a computation on the arguments of one call, in a thread when they hold many records.

        Validating 1,000 records takes 5 to 25 ms, for which the event loop must not be blocked. A cancelled call
        discards the result.

        Args:
            work: the computation; it does no I/O.
            size: the number of records that it works on.

        Raises:
            OverloadedError: too many large computations wait.
        """
        if computes_inline(size):
            return work()
        with self._closing:
            if self._validation_workers is None:
                self._validation_workers = Workers(
                    name="store validation", threads=1, max_queue=_MAX_QUEUED_VALIDATIONS
                )
        return await self._validation_workers.submit(work)

    def _release(self) -> None:
        # Subclasses that own more than the validation thread extend this method.
        if self._validation_workers is not None:
            self._validation_workers.close()

    def version(self, namespace: str | None = None) -> int | None:
        """Return a namespace's version number, which changes whenever its search results may change.

        Use it in cache keys. Read the version before searching: the results are then as new as the version, or newer.
        It changes after a write becomes visible and before that write is acknowledged, and when a record expires; a
        number never comes back. Reading it takes a microsecond or two and never waits. BM25 scores may also shift a
        little with writes to the tenant's other namespaces, which do not change this namespace's version; writes of
        other tenants shift none.

        Args:
            namespace: the namespace of the cached searches; None for searches of all namespaces.

        Returns:
            The version, or None when it is unknown, as it is for a remote store: results must not be cached then.
        """
        self._check_open()
        return self._version("", namespace)

    async def aversion(self, namespace: str | None = None) -> int | None:
        """Return a namespace's version number, from the engine if this process does not know it.

        It is that of `version`, which is None for an engine that other processes write to, such as PostgreSQL.

        Args:
            namespace: the namespace of the cached searches; None for searches of all namespaces.
        """
        self._check_open()
        return await self._aversion("", namespace)

    async def anamespaces(self, *, limit: int = 1_000) -> list[str] | None:
        """Return the names of the namespaces that hold records, sorted.

        Args:
            limit: the most names to return.

        Returns:
            The first names, or None when they are unknown, as they are for a remote store.
        """
        self._check_open()
        return await self._anamespaces("", limit)

    async def atenants(self) -> list[str] | None:
        """Return the names of the tenants that have records, sorted.

        Returns:
            The names, or None when they are unknown, as they are for a remote store and for the view of one tenant.
        """
        self._check_open()
        return await self._atenants()

    async def _perform(self, make: Callable[[Bounds], Request[R]], size: int = 1) -> R:
        self._check_open()
        request = await self.abuild_request(make, size)
        with stage(stage_of(request)):
            return await self._execute(request)

    async def aexecute(self, request: Request[R]) -> R:
        """Execute the store operation that a validated request describes, and return its result."""
        self._check_open()
        return await self._execute(request)
