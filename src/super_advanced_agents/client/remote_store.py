"""A vector store that is somewhere else: every operation becomes a message and every reply a value again.

What carries the messages is a subclass's: a loopback, gRPC, or whatever else can carry the protocol.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

import numpy as np

from super_advanced_agents.config import checked_name
from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.conversions import (
    dedupe_message,
    json_bytes,
    matches_of,
    numbers_column,
    packed,
    record_message,
    records_of,
    stats_of,
    texts_column,
    weights_message,
    where_bytes,
)
from super_advanced_agents.protocol.methods import Method, Q
from super_advanced_agents.protocol.methods import R as Reply
from super_advanced_agents.protocol.v1 import vector_store_pb2 as messages
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.filters import parse
from super_advanced_agents.stores.requests import (
    AddRequest,
    Bounds,
    CountRequest,
    DeleteRequest,
    GetRequest,
    HybridSearchRequest,
    KeywordSearchRequest,
    PredicateSearchRequest,
    PutRequest,
    Request,
    ScanRequest,
    SearchRequest,
    StatsRequest,
    UpdateRequest,
)
from super_advanced_agents.stores.validation import unit_rows
from super_advanced_agents.types import JSONValue, Match, Record, Where

R = TypeVar("R")

_RANKED_FIRST = 1_000
_PAGE = 500
_CHANGEABLE = ("source", "expires_in_s", "priority")


class RemoteVectorStore(VectorStore):
    """A client of one collection of a served store; `VectorStore` says what the operations do.

    What cannot travel is refused here, with the errors of a store in process; how large a call may be is the server's
    to say. A subclass carries messages.

    Args:
        collection: the collection's name.
    """

    def __init__(self, collection: str) -> None:
        super().__init__()
        self._collection = collection
        self._handlers: dict[type[Request[Any]], Callable[[Any], Coroutine[Any, Any, object]]] = {
            AddRequest: self._add,
            PutRequest: self._put,
            UpdateRequest: self._update,
            DeleteRequest: self._delete,
            SearchRequest: self._search,
            HybridSearchRequest: self._search_hybrid,
            KeywordSearchRequest: self._search_keywords,
            PredicateSearchRequest: self._search_with_predicate,
            GetRequest: self._get,
            CountRequest: self._count,
            ScanRequest: self._scan,
            StatsRequest: self._stats,
        }

    @abstractmethod
    async def _unary(self, method: Method[Q, Reply], request: Q) -> Reply:
        """Have one request answered; what the server refuses is raised as the error of the tree that it was there."""

    async def _adim(self) -> int:
        """The length of every vector, asked of the server where that was not done yet."""
        return self.dim

    async def _execute(self, request: Request[R]) -> R:
        return cast("R", await self._handlers[type(request)](request))

    async def _abounds(self) -> Bounds:
        return Bounds(dim=await self._adim())

    async def _add(self, request: AddRequest) -> list[str]:
        message = messages.AddRequest(
            collection=self._collection,
            namespace=request.namespace,
            model_id=request.model_id,
            dim=request.vectors.shape[1],
            vectors=packed(request.vectors),
            metadatas=_metadatas(request),
            uids=None if request.uids is None else texts_column(request.uids),
            sources=None if request.sources is None else texts_column(request.sources),
            sessions=None if request.sessions is None else texts_column(request.sessions),
            expires_in_s=None if request.expires_in_s is None else numbers_column(request.expires_in_s),
            priorities=None if request.priorities is None else numbers_column(request.priorities),
            dedupe=dedupe_message(request.dedupe),
        )
        return list((await self._unary(methods.ADD, message)).uids)

    async def _put(self, request: PutRequest) -> int:
        message = messages.PutRequest(
            collection=self._collection,
            records=[record_message(record, field=f"records[{i}]") for i, record in enumerate(request.records)],
        )
        return (await self._unary(methods.PUT, message)).stored

    async def _update(self, request: UpdateRequest) -> bool:
        given = {name: getattr(request, name) for name in _CHANGEABLE}
        named = {name: value for name, value in given.items() if value is not ... and value is not None}
        message = messages.UpdateRequest(
            collection=self._collection,
            namespace=request.namespace,
            uid=request.uid,
            changes=None if request.changes is None else json_bytes(request.changes, field="changes"),
            vector=None if request.vector is None else packed(request.vector),
            model_id=request.model_id,
            clear=[name for name, value in given.items() if value is None],
            **named,
        )
        return (await self._unary(methods.UPDATE, message)).updated

    async def _search(self, request: SearchRequest) -> list[list[Match]]:
        message = messages.SearchRequest(
            collection=self._collection,
            namespace=request.namespace,
            model_id=request.model_id,
            dim=request.query_vectors.shape[1],
            query_vectors=packed(request.query_vectors),
            top_k=request.top_k,
            where=_where(request.where),
            omit_scores=not request.return_scores,
        )
        return [matches_of(each.matches) for each in (await self._unary(methods.SEARCH, message)).results]

    async def _search_hybrid(self, request: HybridSearchRequest) -> list[Match]:
        message = messages.SearchHybridRequest(
            collection=self._collection,
            namespace=request.namespace,
            model_id=request.model_id,
            query_vector=packed(request.query_vector),
            query_text=request.query_text,
            top_k=request.top_k,
            where=_where(request.where),
            weights=None if request.weights is None else weights_message(request.weights),
            explain=request.explain,
        )
        return matches_of((await self._unary(methods.SEARCH_HYBRID, message)).matches)

    async def _search_keywords(self, request: KeywordSearchRequest) -> list[Match]:
        message = messages.SearchKeywordsRequest(
            collection=self._collection,
            namespace=request.namespace,
            query_text=request.query_text,
            top_k=request.top_k,
            where=_where(request.where),
        )
        return matches_of((await self._unary(methods.SEARCH_KEYWORDS, message)).matches)

    async def _search_with_predicate(self, request: PredicateSearchRequest) -> list[Match]:
        """Ask a predicate, which cannot travel, here.

        It sees the best 1,000 first; should fewer than `top_k` of them pass, every record is fetched, page by page.
        """
        where, namespace, model_id = request.where, request.namespace, request.model_id
        best = await self.asearch(
            request.query_vector, _RANKED_FIRST, where=where, namespace=namespace, model_id=model_id
        )
        passed = [match for match in best if request.filter_fn(match.metadata)]
        if len(passed) >= request.top_k or len(best) < _RANKED_FIRST:
            return passed[: request.top_k]
        query = unit_rows(request.query_vector[np.newaxis], field="query_vector")[0]
        ranked: list[Match] = []
        after: str | None = None
        while page := await self.ascan(where, after=after, limit=_PAGE, namespace=namespace):
            after = page[-1].uid
            kept = [record for record in page if request.filter_fn(record.metadata)]
            if kept:
                scores = unit_rows(np.stack([record.vector for record in kept]), field="vectors") @ query
                ranked += [Match(r.metadata, float(s), r.uid) for r, s in zip(kept, scores, strict=True)]
        return sorted(ranked, key=lambda match: -match.score)[: request.top_k]

    async def _get(self, request: GetRequest) -> list[Record]:
        message = messages.GetRequest(collection=self._collection, namespace=request.namespace, uids=request.uids)
        return records_of((await self._unary(methods.GET, message)).records)

    async def _delete(self, request: DeleteRequest) -> int:
        message = messages.DeleteRequest(
            collection=self._collection,
            namespace=request.namespace,
            uids=request.uids,
            by_uids=request.uids is not None,
            where=_where(request.where),
        )
        return (await self._unary(methods.DELETE, message)).deleted

    async def _count(self, request: CountRequest) -> int:
        message = messages.CountRequest(
            collection=self._collection, namespace=request.namespace, where=_where(request.where)
        )
        return (await self._unary(methods.COUNT, message)).count

    async def _scan(self, request: ScanRequest) -> list[Record]:
        message = messages.ScanRequest(
            collection=self._collection,
            namespace=request.namespace,
            where=_where(request.where),
            after=request.after,
            limit=request.limit,
        )
        return records_of((await self._unary(methods.SCAN, message)).records)

    async def _stats(self, request: StatsRequest) -> dict[str, JSONValue]:
        del request
        return stats_of(await self._unary(methods.STATS, messages.StatsRequest(collection=self._collection)))


def _namespace(namespace: str | None) -> str | None:
    return None if namespace is None else checked_name(namespace, "namespace")


def _where(where: Where | None) -> bytes | None:
    if where is None:
        return None
    parse(where)  # what is no filter cannot travel either
    return where_bytes(where)


def _metadatas(request: AddRequest) -> list[bytes] | None:
    if request.metadatas is None:
        return None
    return [
        document.json if document.text is None else json_bytes(metadata, field=f"metadatas[{i}]")
        for i, (document, metadata) in enumerate(zip(request.documents, request.metadatas, strict=True))
    ]
