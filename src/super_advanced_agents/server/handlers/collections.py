"""Answers of operations on collections and their records."""

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
    """Make a collection; the answer means that it is durable."""
    return await context.workspace.acreate_collection(**asdict(request))


async def list_collections(request: ListCollectionsRequest, context: HandlerContext) -> list[CollectionInfo]:
    """All collections of the tenant, by name."""
    del request
    return await context.workspace.acollections()


async def get_collection(request: GetCollectionRequest, context: HandlerContext) -> CollectionInfo:
    """What a collection was made with; 404 when there is none of that name."""
    del request
    return await context.workspace.acollection_info(context.target)


async def delete_collection(request: DeleteCollectionRequest, context: HandlerContext) -> None:
    """Delete a collection with all that is in it; 404 when there is none of that name."""
    del request
    if not await context.workspace.adelete_collection(context.target):
        raise CollectionNotFoundError(
            f"there is no collection {context.target!r}", hint="list the collections to see what there is"
        )


HANDLERS: dict[str, Handler] = {
    ops.CREATE_COLLECTION.name: create_collection,
    ops.LIST_COLLECTIONS.name: list_collections,
    ops.GET_COLLECTION.name: get_collection,
    ops.DELETE_COLLECTION.name: delete_collection,
}
"""By the operation's name; requests of a store need none: see `registry`."""
