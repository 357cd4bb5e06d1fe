"""The serving end of every `VectorStore` operation: a request is read, carried out on a store, and answered.

The gRPC server and the loopback of `DistributedVectorStoreStub` stand on it. What is malformed raises
`InvalidInputError` with the field; what the store raises is passed on. A cancelled call cancels what the store does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import orjson
from google.protobuf.message import Message

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.conversions import (
    dedupe_of,
    json_object,
    match_messages,
    matrix_of,
    metadata_of,
    numbers_of,
    record_message,
    records_of,
    texts_of,
    vector_of,
    weights_of,
    where_of,
)
from super_advanced_agents.protocol.v1 import common_pb2 as shared
from super_advanced_agents.protocol.v1 import vector_store_pb2 as messages
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.types import Metadata, Record, Where

TOP_K = 5
PAGE = 100
_CHUNK_BYTES = 1024 * 1024
"""A message of a stream of records is sent when it has become so large."""

_CLEARABLE = frozenset({"source", "expires_in_s", "priority"})


async def add(store: VectorStore, request: messages.AddRequest) -> messages.AddResponse:
    """See `VectorStore.aadd_batch`."""
    uids = await store.aadd_batch(
        matrix_of(request.vectors, request.dim, field="vectors"),
        _metadatas(request.metadatas),
        texts_of(request.uids),
        namespace=namespace_of(request),
        model_id=request.model_id if request.HasField("model_id") else None,
        sources=texts_of(request.sources),
        sessions=texts_of(request.sessions),
        expires_in_s=numbers_of(request.expires_in_s),
        priorities=numbers_of(request.priorities),
        dedupe=dedupe_of(request.dedupe),
    )
    return messages.AddResponse(uids=uids)


async def put(store: VectorStore, request: messages.PutRequest) -> messages.PutResponse:
    """See `VectorStore.aput`."""
    return messages.PutResponse(stored=await store.aput(records_of(request.records)))


async def update(store: VectorStore, request: messages.UpdateRequest) -> messages.UpdateResponse:
    """See `VectorStore.aupdate`."""
    has = request.HasField
    updated = await store.aupdate(
        request.uid,
        json_object(request.changes, field="changes") if has("changes") else None,
        namespace=namespace_of(request),
        vector=vector_of(request.vector, field="vector") if has("vector") else None,
        model_id=request.model_id if has("model_id") else None,
        **changed(request, request.clear),
    )
    return messages.UpdateResponse(updated=updated)


async def search(store: VectorStore, request: messages.SearchRequest) -> messages.SearchResponse:
    """See `VectorStore.asearch_batch`."""
    found = await store.asearch_batch(
        matrix_of(request.query_vectors, request.dim, field="query_vectors"),
        top_k_of(request),
        where=filter_of(request),
        namespace=namespace_of(request),
        model_id=request.model_id if request.HasField("model_id") else None,
        return_scores=not request.omit_scores,
    )
    return messages.SearchResponse(results=[shared.Matches(matches=match_messages(matches)) for matches in found])


async def search_hybrid(store: VectorStore, request: messages.SearchHybridRequest) -> messages.SearchHybridResponse:
    """See `VectorStore.asearch_hybrid`."""
    found = await store.asearch_hybrid(
        vector_of(request.query_vector, field="query_vector"),
        request.query_text,
        top_k_of(request),
        where=filter_of(request),
        namespace=namespace_of(request),
        model_id=request.model_id if request.HasField("model_id") else None,
        weights=weights_of(request.weights) if request.HasField("weights") else None,
        explain=request.explain,
    )
    return messages.SearchHybridResponse(matches=match_messages(found))


async def search_keywords(
    store: VectorStore, request: messages.SearchKeywordsRequest
) -> messages.SearchKeywordsResponse:
    """See `VectorStore.asearch_keywords`."""
    found = await store.asearch_keywords(
        request.query_text, top_k_of(request), where=filter_of(request), namespace=namespace_of(request)
    )
    return messages.SearchKeywordsResponse(matches=match_messages(found))


async def get(store: VectorStore, request: messages.GetRequest) -> messages.GetResponse:
    """See `VectorStore.aget`."""
    found = await store.aget(list(request.uids), namespace=namespace_of(request))
    return messages.GetResponse(records=[record_message(record) for record in found])


async def delete(store: VectorStore, request: messages.DeleteRequest) -> messages.DeleteResponse:
    """See `VectorStore.adelete`."""
    deleted = await store.adelete(named(request), where=filter_of(request), namespace=namespace_of(request))
    return messages.DeleteResponse(deleted=deleted)


async def count(store: VectorStore, request: messages.CountRequest) -> messages.CountResponse:
    """See `VectorStore.acount`."""
    return messages.CountResponse(count=await store.acount(filter_of(request), namespace=namespace_of(request)))


async def scan(store: VectorStore, request: messages.ScanRequest) -> messages.ScanResponse:
    """See `VectorStore.ascan`."""
    return messages.ScanResponse(records=[record_message(record) for record in await _page(store, request)])


async def stats(store: VectorStore, request: messages.StatsRequest) -> messages.StatsResponse:
    """See `VectorStore.astats`."""
    del request
    return messages.StatsResponse(stats=orjson.dumps(await store.astats()))


async def scan_stream(store: VectorStore, request: messages.ScanRequest) -> AsyncGenerator[messages.ScanResponse, None]:
    """Every record from `request.after` on. One page is held at a time, and large ones go in several messages."""
    where, namespace = filter_of(request), namespace_of(request)
    page = await _page(store, request)
    limit = limit_of(request)
    while page:
        for response in _responses(page):
            yield response
        # A last page cannot be told by its length: records of equal uids come on one page.
        page = await store.ascan(where, after=page[-1].uid, limit=limit, namespace=namespace)


def _responses(page: Iterable[Record]) -> Iterable[messages.ScanResponse]:
    batch: list[shared.Record] = []
    size = 0
    for record in page:
        message = record_message(record)
        batch.append(message)
        size += message.ByteSize()
        if size >= _CHUNK_BYTES:
            yield messages.ScanResponse(records=batch)
            batch, size = [], 0
    if batch:
        yield messages.ScanResponse(records=batch)


async def _page(store: VectorStore, request: messages.ScanRequest) -> list[Record]:
    return await store.ascan(
        filter_of(request),
        after=request.after if request.HasField("after") else None,
        limit=limit_of(request),
        namespace=namespace_of(request),
    )


Handler: TypeAlias = "Callable[[VectorStore, Any], Coroutine[Any, Any, Message]]"

HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "Add": add,
        "Put": put,
        "Update": update,
        "Search": search,
        "SearchHybrid": search_hybrid,
        "SearchKeywords": search_keywords,
        "Get": get,
        "Delete": delete,
        "Count": count,
        "Scan": scan,
        "Stats": stats,
    }
)
"""By the method's name in `VectorStoreService`."""


# -- what many requests have in common --------------------------------------------------------------------------------


def namespace_of(request: Any) -> str | None:
    """Its namespace, or None."""
    return request.namespace if request.HasField("namespace") else None


def filter_of(request: Any) -> Where | None:
    """Its filter, or None."""
    return where_of(request.where) if request.HasField("where") else None


def top_k_of(request: Any) -> int:
    """How many matches it wants."""
    return request.top_k if request.HasField("top_k") else TOP_K


def limit_of(request: Any) -> int:
    """How many records a page it wants."""
    return request.limit if request.HasField("limit") else PAGE


def named(request: Any) -> list[str] | None:
    """The names it chooses records by, or None when it does not.

    Raises:
        InvalidInputError: there are names, and they are not said to count.
    """
    if request.uids and not request.by_uids:
        raise InvalidInputError("uids counts only with by_uids", field="by_uids", hint="set it")
    return list(request.uids) if request.by_uids else None


def changed(request: Any, clear: Iterable[str]) -> dict[str, Any]:
    """What a change of a record sets, and with None what it takes away.

    Raises:
        InvalidInputError: it takes away what cannot be, or what it sets.
    """
    given: dict[str, Any] = {name: getattr(request, name) for name in _CLEARABLE if request.HasField(name)}
    for name in clear:
        if name not in _CLEARABLE:
            raise InvalidInputError(f"clear may name {', '.join(sorted(_CLEARABLE))}", field="clear")
        if given.get(name) is not None:
            raise InvalidInputError(f"{name} is set and cleared at once", field=name)
        given[name] = None
    return given


def _metadatas(column: Iterable[bytes]) -> list[Metadata | None] | None:
    return [metadata_of(each, field=f"metadatas[{i}]") for i, each in enumerate(column)] or None
