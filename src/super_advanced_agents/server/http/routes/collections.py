"""Vectors with metadata, for whoever brings vectors: `/v1/collections/{collection}/...`."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import JsonValue

from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.json_codec import VectorFormat, json_of_result
from super_advanced_agents.protocol.requests import CreateCollectionRequest
from super_advanced_agents.server.http.body import JSONRoute
from super_advanced_agents.server.http.endpoints import (
    Endpoint,
    ParsedRequest,
    add_endpoint,
    not_found,
    renamed_field,
    show_page,
)
from super_advanced_agents.server.http.packed_vectors import unpacked
from super_advanced_agents.server.http.schemas import results as answers
from super_advanced_agents.server.http.schemas.bodies import Parameters, Vector, body_of
from super_advanced_agents.stores import requests as store

router = APIRouter(tags=["collections"], route_class=JSONRoute)

_VECTORS = (VectorFormat, "numbers")

RecordName = body_of(store.GetRequest, "RecordName", without=["uids"], base=Parameters, vectors=_VECTORS)
RecordGone = body_of(store.GetRequest, "RecordGone", without=["uids"], base=Parameters)
PageQuery = body_of(store.ScanRequest, "PageQuery", without=["where"], base=Parameters, vectors=_VECTORS)
SearchIn = body_of(store.SearchRequest, "SearchIn", without=["query_vectors"], query_vector=(Vector, ...))


async def _one(parsed: ParsedRequest) -> Any:
    namespace = parsed.parameters.namespace or "default"
    found = await parsed.result(lambda bounds: store.GetRequest(bounds=bounds, uids=[parsed.uid], namespace=namespace))
    if not found:
        raise not_found("there is no record of that name")
    return json_of_result(found[0], vectors=parsed.parameters.vectors)


async def _delete_one(parsed: ParsedRequest) -> None:
    namespace = parsed.parameters.namespace or "default"
    made = store.DeleteRequest
    if not await parsed.result(lambda bounds: made(bounds=bounds, uids=[parsed.uid], namespace=namespace)):
        raise not_found("there is no record of that name")


async def _search(parsed: ParsedRequest) -> Any:
    def made(**bounds: Any) -> store.SearchRequest:
        request: store.SearchRequest = parsed.body.made(
            query_vectors=[unpacked(parsed.body.query_vector, "query_vector")], **bounds
        )
        return request

    with renamed_field("query_vectors", "query_vector"), renamed_field("query_vectors[0]", "query_vector"):
        [found] = await parsed.result(made)
    return {"results": json_of_result(found)}


ENDPOINTS = (
    Endpoint(
        operation=ops.CREATE_COLLECTION,
        body=body_of(
            CreateCollectionRequest,
            "CollectionIn",
            metric=(Literal["cosine", "dot"], "cosine"),
            index=(Literal["auto", "flat", "hnsw", "ivf"], "auto"),
            storage=(Literal["fp32", "fp16", "sq8"], "fp32"),
        ),
        shape=answers.CollectionOut,
    ),
    Endpoint(operation=ops.LIST_COLLECTIONS, shape=answers.Collections),
    Endpoint(operation=ops.GET_COLLECTION, shape=answers.CollectionOut),
    Endpoint(operation=ops.DELETE_COLLECTION),
    Endpoint(
        operation=ops.STATS,
        shape=dict[str, JsonValue],
        doc="Counters and sizes; at least `records`, `dim` and `engine`.",
    ),
    Endpoint(
        operation=ops.ADD,
        body=body_of(store.AddRequest, "RecordsIn"),
        shape=answers.StoredUids,
        doc="Add or replace records, all or none; the answer means that all of them are durable.",
    ),
    Endpoint(
        operation=ops.PUT,
        body=body_of(store.PutRequest, "WholeRecordsIn"),
        shape=answers.Stored,
        doc="Store whole records as a page gave them, times and places in sessions too, all or none.",
    ),
    Endpoint(
        operation=ops.UPDATE,
        body=body_of(store.UpdateRequest, "UpdateIn"),
        shape=answers.Updated,
        doc="Change one record in place; what the body does not name stays, and null clears.",
    ),
    Endpoint(
        operation=ops.GET,
        body=body_of(store.GetRequest, "NamesIn", vectors=_VECTORS),
        shape=answers.Records,
        doc="The records of these names, in their order; names nobody has are left out.",
    ),
    Endpoint(
        operation=ops.DELETE,
        body=body_of(store.DeleteRequest, "DeleteIn"),
        shape=answers.Deleted,
        doc="Delete records by name, by filter, or by both; the answer means that it is durable.",
    ),
    Endpoint(
        operation=ops.COUNT,
        body=body_of(store.CountRequest, "ChosenIn"),
        shape=answers.Counted,
        doc="How many records match.",
    ),
    Endpoint(
        operation=ops.SCAN,
        body=body_of(store.ScanRequest, "ScanIn", vectors=_VECTORS),
        shape=answers.RecordPage,
        show=show_page,
        doc="One page of records that match, in the order of their uids.",
    ),
    Endpoint(
        operation=ops.LIST_RECORDS,
        parameters=PageQuery,
        shape=answers.RecordPage,
        show=show_page,
        doc="One page of all records, in the order of their uids.",
    ),
    Endpoint(
        operation=ops.GET_RECORD,
        parameters=RecordName,
        shape=answers.RecordOut,
        show=_one,
        doc="One record, of namespace `default` when none is named; 404 when there is none of that name.",
    ),
    Endpoint(
        operation=ops.DELETE_RECORD,
        parameters=RecordGone,
        show=_delete_one,
        doc="Delete one record, of namespace `default` when none is named; 404 when there is none of that name.",
    ),
    Endpoint(
        operation=ops.SEARCH,
        body=SearchIn,
        shape=answers.Matches,
        show=_search,
        doc="The records most like a vector, best first.",
    ),
    Endpoint(
        operation=ops.SEARCH_BATCH,
        body=body_of(store.SearchRequest, "SearchBatchIn"),
        shape=answers.ManyMatches,
        doc="For each of many vectors the records most like it, best first.",
    ),
    Endpoint(
        operation=ops.SEARCH_HYBRID,
        body=body_of(store.HybridSearchRequest, "HybridIn"),
        shape=answers.Matches,
        doc="The records most like a text by meaning (its vector) and by words together, best first.",
    ),
    Endpoint(
        operation=ops.SEARCH_KEYWORDS,
        body=body_of(store.KeywordSearchRequest, "KeywordsIn"),
        shape=answers.Matches,
        doc="The records that share the most telling words with a text, best first.",
    ),
)

for each in ENDPOINTS:
    add_endpoint(router, each)
