"""Vectors with metadata, for whoever brings vectors: `/v1/collections/{collection}/...`."""

from __future__ import annotations

from collections.abc import Coroutine
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, JsonValue

from super_advanced_agents.errors import CollectionNotFoundError, InvalidInputError
from super_advanced_agents.server import schemas_collections as shapes
from super_advanced_agents.server.access import needs
from super_advanced_agents.server.dependencies import TheCall, TheWorkspace
from super_advanced_agents.server.disconnect import while_connected
from super_advanced_agents.server.json_requests import JSONRoute
from super_advanced_agents.server.packed_vectors import unpacked, unpacked_all
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.types import Match, Record

T = TypeVar("T")

router = APIRouter(prefix="/v1/collections", tags=["collections"], route_class=JSONRoute)


async def _collection(workspace: TheWorkspace, collection: Annotated[str, Path()]) -> VectorStore:
    return await workspace.acollection(collection)


TheCollection = Annotated[VectorStore, Depends(_collection)]
"""The collection that the path names, of the caller's tenant."""


class _Until:
    """Carries out what the caller waits for; when the caller hangs up, it is cancelled."""

    def __init__(self, request: Request) -> None:
        self._receive = request.receive

    async def __call__(self, operation: Coroutine[Any, Any, T]) -> T:
        return await while_connected(self._receive, operation)


Connected = Annotated[_Until, Depends(_Until)]


@router.post("", status_code=HTTPStatus.CREATED, **needs(Access.WRITE))
async def create_collection(body: shapes.CollectionIn, workspace: TheWorkspace) -> shapes.CollectionOut:
    """Make a collection; the answer means that it is durable."""
    return shapes.CollectionOut.of(await workspace.acreate_collection(**dict(body)))


@router.get("", **needs(Access.READ))
async def list_collections(workspace: TheWorkspace) -> shapes.Collections:
    """All collections of the tenant, by name."""
    found = [shapes.CollectionOut.of(info) for info in await workspace.acollections()]
    return shapes.Collections.model_construct(collections=found)


@router.get("/{collection}", **needs(Access.READ))
async def get_collection(collection: str, workspace: TheWorkspace) -> shapes.CollectionOut:
    """What a collection was made with; 404 when there is none of that name."""
    return shapes.CollectionOut.of(await workspace.acollection_info(collection))


@router.delete("/{collection}", status_code=HTTPStatus.NO_CONTENT, **needs(Access.WRITE))
async def delete_collection(collection: str, workspace: TheWorkspace) -> Response:
    """Delete a collection with all that is in it; 404 when there is none of that name."""
    if not await workspace.adelete_collection(collection):
        raise CollectionNotFoundError(f"there is no collection {collection!r}", hint="GET /v1/collections lists them")
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.get("/{collection}/stats", **needs(Access.READ))
async def collection_stats(store: TheCollection) -> dict[str, JsonValue]:
    """Counters and sizes; at least `records`, `dim` and `engine`."""
    return await store.astats()


@router.post("/{collection}/records", **needs(Access.WRITE))
async def add_records(
    body: shapes.RecordsIn, store: TheCollection, call: TheCall, connected: Connected
) -> shapes.StoredUids:
    """Add or replace records, all or none; the answer means that all of them are durable."""
    await call.charge(len(body.vectors))
    columns = dict(body)
    vectors = unpacked_all(columns.pop("vectors"), "vectors")
    return shapes.StoredUids.model_construct(uids=await connected(store.aadd_batch(vectors, **columns)))


@router.put("/{collection}/records", **needs(Access.WRITE))
async def put_records(
    body: shapes.WholeRecordsIn, store: TheCollection, call: TheCall, connected: Connected
) -> shapes.Stored:
    """Store whole records as a page gave them, times and places in sessions too, all or none."""
    await call.charge(len(body.records))
    records = [record.record(f"records[{i}]") for i, record in enumerate(body.records)]
    return shapes.Stored.model_construct(stored=await connected(store.aput(records)))


@router.patch("/{collection}/records", **needs(Access.WRITE))
async def update_record(body: shapes.UpdateIn, store: TheCollection, connected: Connected) -> shapes.Updated:
    """Change one record in place; what the body does not name stays, and null clears."""
    given = {name: value for name, value in dict(body).items() if name in body.model_fields_set}
    if body.vector is not None:
        given["vector"] = unpacked(body.vector, "vector")
    return shapes.Updated.model_construct(updated=await connected(store.aupdate(**given)))


@router.post("/{collection}/records:get", response_model=shapes.Records, **needs(Access.READ))
async def get_records(body: shapes.NamesIn, store: TheCollection, connected: Connected) -> Response:
    """The records of these names, in their order; names nobody has are left out."""
    found = await connected(store.aget(body.uids, namespace=body.namespace))
    return _json({"records": shapes.records_out(found, body.vectors)})


@router.post("/{collection}/records:delete", **needs(Access.WRITE))
async def delete_records(body: shapes.DeleteIn, store: TheCollection, connected: Connected) -> shapes.Deleted:
    """Delete records by name, by filter, or by both; the answer means that it is durable."""
    deleting = store.adelete(body.uids, where=body.where, namespace=body.namespace)
    return shapes.Deleted.model_construct(deleted=await connected(deleting))


@router.post("/{collection}/records:count", **needs(Access.READ))
async def count_records(body: shapes.ChosenIn, store: TheCollection, connected: Connected) -> shapes.Counted:
    """How many records match."""
    return shapes.Counted.model_construct(count=await connected(store.acount(body.where, namespace=body.namespace)))


@router.post("/{collection}/records:scan", response_model=shapes.RecordPage, **needs(Access.READ))
async def scan_records(body: shapes.ScanIn, store: TheCollection, connected: Connected) -> Response:
    """One page of records that match, in the order of their uids."""
    page = await connected(
        store.ascan(body.where, after=body.after, limit=body.limit, namespace=body.namespace),
    )
    return _page(page, body.limit, body.vectors)


@router.get("/{collection}/records", response_model=shapes.RecordPage, **needs(Access.READ))
async def list_records(
    query: Annotated[shapes.PageQuery, Query()], store: TheCollection, connected: Connected
) -> Response:
    """One page of all records, in the order of their uids."""
    page = await connected(store.ascan(after=query.after, limit=query.limit, namespace=query.namespace))
    return _page(page, query.limit, query.vectors)


@router.get("/{collection}/records/{uid:path}", response_model=shapes.RecordOut, **needs(Access.READ))
async def get_record(
    uid: str, store: TheCollection, namespace: str | None = None, vectors: shapes.VectorFormat = "numbers"
) -> Response:
    """One record, of namespace `default` when none is named; 404 when there is none of that name."""
    found = await store.aget([uid], namespace=namespace or "default")
    if not found:
        raise HTTPException(HTTPStatus.NOT_FOUND, "there is no record of that name")
    return _json(shapes.records_out(found, vectors)[0])


@router.delete("/{collection}/records/{uid:path}", status_code=HTTPStatus.NO_CONTENT, **needs(Access.WRITE))
async def delete_record(uid: str, store: TheCollection, namespace: str | None = None) -> Response:
    """Delete one record, of namespace `default` when none is named; 404 when there is none of that name."""
    if not await store.adelete([uid], namespace=namespace or "default"):
        raise HTTPException(HTTPStatus.NOT_FOUND, "there is no record of that name")
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post("/{collection}/search", response_model=shapes.Matches, **needs(Access.READ))
async def search_collection(body: shapes.SearchIn, store: TheCollection, connected: Connected) -> Response:
    """The records most like a vector, best first."""
    vector = unpacked(body.query_vector, "query_vector")
    [found] = await connected(
        _named(
            "query_vectors[0]",
            "query_vector",
            store.asearch_batch([vector], **_options(body, without={"query_vector"})),
        )
    )
    return _matches(found)


@router.post("/{collection}/search:batch", response_model=shapes.ManyMatches, **needs(Access.READ))
async def search_collection_batch(
    body: shapes.SearchBatchIn, store: TheCollection, call: TheCall, connected: Connected
) -> Response:
    """For each of many vectors the records most like it, best first."""
    await call.charge(len(body.query_vectors) - 1)
    vectors = unpacked_all(body.query_vectors, "query_vectors")
    found = await connected(store.asearch_batch(vectors, **_options(body, without={"query_vectors"})))
    return _json({"results": [[shapes.match_out(match) for match in matches] for matches in found]})


@router.post("/{collection}/search:hybrid", response_model=shapes.Matches, **needs(Access.READ))
async def search_collection_hybrid(body: shapes.HybridIn, store: TheCollection, connected: Connected) -> Response:
    """The records most like a text by meaning (its vector) and by words together, best first."""
    options = _options(body, without={"query_vector", "query_text", "weights"})
    weights = None if body.weights is None else body.weights.weights()
    vector = unpacked(body.query_vector, "query_vector")
    return _matches(await connected(store.asearch_hybrid(vector, body.query_text, weights=weights, **options)))


@router.post("/{collection}/search:keywords", response_model=shapes.Matches, **needs(Access.READ))
async def search_collection_keywords(body: shapes.KeywordsIn, store: TheCollection, connected: Connected) -> Response:
    """The records that share the most telling words with a text, best first."""
    return _matches(await connected(store.asearch_keywords(**dict(body))))


async def _named(said: str, field: str, operation: Coroutine[Any, Any, T]) -> T:
    """Name what is wrong as the body does, where the library's argument is a list of one."""
    try:
        return await operation
    except InvalidInputError as exc:
        if exc.field not in {said, said.partition("[")[0]}:
            raise
        raise type(exc)(exc.message.replace(exc.field, field, 1), field=field, hint=exc.hint) from exc


def _options(body: BaseModel, *, without: set[str]) -> dict[str, Any]:
    return {name: value for name, value in dict(body).items() if name not in without}


def _matches(found: list[Match]) -> Response:
    return _json({"results": [shapes.match_out(match) for match in found]})


def _page(page: list[Record], limit: int, vectors: shapes.VectorFormat) -> Response:
    following = page[-1].uid if len(page) >= limit else None
    return _json({"records": shapes.records_out(page, vectors), "next": following})


def _json(shown: dict[str, Any]) -> Response:
    """What comes out of the store was checked on its way in; checking it again would cost more than the search."""
    return Response(orjson.dumps(shown, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
