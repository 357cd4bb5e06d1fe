"""A vector store that is somewhere else: requests travel as they are, and results come back."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar, cast

from super_advanced_agents.client.transport import RemoteCall
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.options import Metric
from super_advanced_agents.stores.predicates import search_by_predicate
from super_advanced_agents.stores.requests import AddRequest, Bounds, PredicateSearchRequest, Request

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
    """A client of one collection of a served store; `VectorStore` says what the operations do.

    What cannot travel is refused here, with the errors of a store in process; how large a call may be is the server's
    to say. A subclass carries calls.

    Args:
        collection: the collection's name.
    """

    def __init__(self, collection: str) -> None:
        super().__init__()
        self._collection = collection

    @abstractmethod
    async def _acall(self, call: RemoteCall) -> object:
        """Have a call answered; what the server refuses is raised as the error of the tree that it was there."""

    @abstractmethod
    async def _ametric(self) -> Metric:
        """Return how the collection compares vectors, asked of the server where that was not done yet."""

    async def _adim(self) -> int:
        """Return the length of every vector, asked of the server where that was not done yet."""
        return self.dim

    async def _abounds(self) -> Bounds:
        return Bounds(dim=await self._adim())

    async def _execute(self, request: Request[R]) -> R:
        if isinstance(request, PredicateSearchRequest):  # a predicate cannot travel, so it is asked here
            return cast("R", await search_by_predicate(self, request, await self._ametric()))
        if isinstance(request, AddRequest):  # sent again, it is the same write
            request = cast("Request[R]", request.named())
        return cast("R", await self._acall(RemoteCall(_OPERATIONS[type(request)], self._collection, request)))
