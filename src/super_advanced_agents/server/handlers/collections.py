"""Handlers that create, list, describe and delete collections (named sets of vectors)."""

from __future__ import annotations

from dataclasses import asdict

from super_advanced_agents.errors import CollectionNotFoundError
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.requests import (
    CreateCollectionRequest,
    DeleteCollectionRequest,
    GetCollectionRequest,
    ListCollectionsRequest,
)
from super_advanced_agents.server.handlers.context import Handler, HandlerContext
from super_advanced_agents.types import CollectionInfo


async def create_collection(request: CreateCollectionRequest, context: HandlerContext) -> CollectionInfo:
    """Create a collection (a named set of vectors), durably before the response is sent."""
    return await context.workspace.acreate_collection(**asdict(request))


async def list_collections(request: ListCollectionsRequest, context: HandlerContext) -> list[CollectionInfo]:
    """List the collections (named sets of vectors) of the caller's tenant, sorted by name."""
    del request
    return await context.workspace.acollections()


async def get_collection(request: GetCollectionRequest, context: HandlerContext) -> CollectionInfo:
    """Return a collection's settings, such as `dim`; the status is 404 if it does not exist."""
    del request
    return await context.workspace.acollection_info(context.target)


async def delete_collection(request: DeleteCollectionRequest, context: HandlerContext) -> None:
    """Delete a collection and all records in it; the status is 404 if it does not exist."""
    del request
    if not await context.workspace.adelete_collection(context.target):
        raise CollectionNotFoundError(
            f"there is no collection {context.target!r}", hint="list the collections to see their names"
        )


HANDLERS: dict[str, Handler] = {
    ops.CREATE_COLLECTION.name: create_collection,
    ops.LIST_COLLECTIONS.name: list_collections,
    ops.GET_COLLECTION.name: get_collection,
    ops.DELETE_COLLECTION.name: delete_collection,
}
"""The handlers by the name of their operation; stores execute requests on records."""
