"""`VectorStoreService`: collections of vectors, as `routes.collections` serves them over REST."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

from google.protobuf.message import Message

from super_advanced_agents.errors import CollectionNotFoundError
from super_advanced_agents.protocol import methods, serving
from super_advanced_agents.protocol.conversions import collection_message
from super_advanced_agents.protocol.v1 import vector_store_pb2 as messages
from super_advanced_agents.server.grpc.rpcs import Rpc, Unary, in_order
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.tenancy.context import current_call
from super_advanced_agents.tenancy.workspace import Workspace

_FLOAT_BYTES = 4
_SEARCHES_AHEAD = 8


def _over(handler: Callable[[VectorStore, Any], Coroutine[Any, Any, Message]]) -> Unary:
    async def answer(request: Any, workspace: Workspace) -> Message:
        return await handler(await workspace.acollection(request.collection), request)

    return answer


async def _add(request: messages.AddRequest, workspace: Workspace) -> messages.AddResponse:
    store = await workspace.acollection(request.collection)
    await current_call().charge(len(request.vectors) // (_FLOAT_BYTES * max(1, request.dim)))
    return await serving.add(store, request)


async def _add_stream(
    requests: AsyncIterator[messages.AddRequest], workspace: Workspace
) -> AsyncGenerator[messages.AddResponse, None]:
    """One batch after the other, since a later one may replace what an earlier one has added."""
    async for request in requests:
        yield await _add(request, workspace)


async def _put(request: messages.PutRequest, workspace: Workspace) -> messages.PutResponse:
    store = await workspace.acollection(request.collection)
    await current_call().charge(len(request.records))
    return await serving.put(store, request)


async def _search(request: messages.SearchRequest, workspace: Workspace) -> messages.SearchResponse:
    store = await workspace.acollection(request.collection)
    queries = len(request.query_vectors) // (_FLOAT_BYTES * max(1, request.dim))
    if queries > 1:
        await current_call().charge(queries - 1)
    return await serving.search(store, request)


async def _search_stream(
    requests: AsyncIterator[messages.SearchRequest], workspace: Workspace
) -> AsyncGenerator[messages.SearchResponse, None]:
    async def search(request: messages.SearchRequest) -> messages.SearchResponse:
        await current_call().charge(1)
        return await _search(request, workspace)

    async for response in in_order(requests, search, ahead=_SEARCHES_AHEAD):
        yield response


async def _scan_stream(
    request: messages.ScanRequest, workspace: Workspace
) -> AsyncGenerator[messages.ScanResponse, None]:
    async for response in serving.scan_stream(await workspace.acollection(request.collection), request):
        yield response


async def _create_collection(request: messages.CreateCollectionRequest, workspace: Workspace) -> messages.Collection:
    given = {name: getattr(request, name) for name in ("metric", "index", "storage") if request.HasField(name)}
    return collection_message(
        await workspace.acreate_collection(request.name, dim=request.dim, exist_ok=request.exist_ok, **given)
    )


async def _get_collection(request: messages.GetCollectionRequest, workspace: Workspace) -> messages.Collection:
    return collection_message(await workspace.acollection_info(request.name))


async def _list_collections(
    request: messages.ListCollectionsRequest, workspace: Workspace
) -> messages.ListCollectionsResponse:
    del request
    found = await workspace.acollections()
    return messages.ListCollectionsResponse(collections=[collection_message(info) for info in found])


async def _delete_collection(
    request: messages.DeleteCollectionRequest, workspace: Workspace
) -> messages.DeleteCollectionResponse:
    if not await workspace.adelete_collection(request.name):
        raise CollectionNotFoundError(f"there is no collection {request.name!r}", hint="ListCollections lists them")
    return messages.DeleteCollectionResponse()


RPCS = (
    Rpc(methods.ADD, _add),
    Rpc(methods.ADD_STREAM, _add_stream),
    Rpc(methods.PUT, _put),
    Rpc(methods.UPDATE, _over(serving.update)),
    Rpc(methods.SEARCH, _search),
    Rpc(methods.SEARCH_STREAM, _search_stream),
    Rpc(methods.SEARCH_HYBRID, _over(serving.search_hybrid)),
    Rpc(methods.SEARCH_KEYWORDS, _over(serving.search_keywords)),
    Rpc(methods.GET, _over(serving.get)),
    Rpc(methods.DELETE, _over(serving.delete)),
    Rpc(methods.COUNT, _over(serving.count)),
    Rpc(methods.SCAN, _over(serving.scan)),
    Rpc(methods.SCAN_STREAM, _scan_stream),
    Rpc(methods.STATS, _over(serving.stats)),
    Rpc(methods.CREATE_COLLECTION, _create_collection),
    Rpc(methods.GET_COLLECTION, _get_collection),
    Rpc(methods.LIST_COLLECTIONS, _list_collections),
    Rpc(methods.DELETE_COLLECTION, _delete_collection),
)
"""The service's methods."""
