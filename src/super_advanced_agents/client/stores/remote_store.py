"""The base class of clients of a remote vector store: each request becomes one remote call."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar, cast

from super_advanced_agents.client.batching import repeatable
from super_advanced_agents.client.transports.base import RemoteCall
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.options import Metric
from super_advanced_agents.stores.predicates import search_by_predicate
from super_advanced_agents.stores.requests import Bounds, PredicateSearchRequest, Request, WriteRequest

R = TypeVar("R")

_OPERATIONS: dict[type[object], Operation] = {
    operation.request: operation
    for operation in (
        ops.ADD,
        ops.PUT,
        ops.UPDATE,
        ops.DELETE,
        ops.SEARCH_BATCH,
        ops.SEARCH_HYBRID,
        ops.SEARCH_KEYWORDS,
        ops.GET,
        ops.COUNT,
        ops.SCAN,
        ops.STATS,
    )
    if operation.request is not None
}


class RemoteVectorStore(VectorStore):
    """Implement the operations of `VectorStore` by sending each request as a remote call.

    Requests that cannot be encoded are refused here, with the errors of a store in process; the server limits the size
    of a request. A subclass implements the calls.

    Args:
        collection: the collection's name.
    """

    def __init__(self, collection: str) -> None:
        super().__init__()
        self._collection = collection

    @abstractmethod
    async def _acall(self, call: RemoteCall[R]) -> R:
        """Send a remote call and return its result, or raise the error that the server returned."""

    @abstractmethod
    async def _ametric(self) -> Metric:
        """Return the collection's similarity metric, such as `"cosine"`; may ask the server."""

    async def _adim(self) -> int:
        return self.dim

    async def _abounds(self) -> Bounds:
        return Bounds(dim=await self._adim())

    async def _execute(self, request: Request[R]) -> R:
        if isinstance(request, PredicateSearchRequest):  # a predicate cannot be encoded, so it is evaluated here
            return cast("R", await search_by_predicate(self, request, await self._ametric()))
        if isinstance(request, WriteRequest):
            request = repeatable(request)
        return await self._acall(RemoteCall(_OPERATIONS[type(request)], self._collection, request))
