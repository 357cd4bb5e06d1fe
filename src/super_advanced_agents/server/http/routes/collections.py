"""Routes of collections, whose vectors clients compute: `/v1/collections/{collection}/...`."""

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
    handle_page,
    not_found,
    renamed_field,
)
from super_advanced_agents.server.http.packed_vectors import unpack_vector
from super_advanced_agents.server.http.schemas import results
from super_advanced_agents.server.http.schemas.bodies import Parameters, Vector, body_of
from super_advanced_agents.server.http.streaming.json_answers import Items
from super_advanced_agents.stores import requests as store

router = APIRouter(tags=["collections"], route_class=JSONRoute)

_VECTORS = (VectorFormat, "numbers")

GetRecordParameters = body_of(
    store.GetRequest, "GetRecordParameters", without=["uids"], base=Parameters, vectors=_VECTORS
)
DeleteRecordParameters = body_of(store.GetRequest, "DeleteRecordParameters", without=["uids"], base=Parameters)
ListRecordsParameters = body_of(
    store.ScanRequest, "ListRecordsParameters", without=["where"], base=Parameters, vectors=_VECTORS
)
SearchIn = body_of(store.SearchRequest, "SearchIn", without=["query_vectors"], query_vector=(Vector, ...))


async def _get_record(parsed: ParsedRequest) -> Any:
    namespace = parsed.parameters.namespace or "default"
    records = await parsed.result(
        lambda bounds: store.GetRequest(bounds=bounds, uids=[parsed.uid], namespace=namespace)
    )
    if not records:
        raise not_found("there is no record with this uid")
    return json_of_result(records[0], vectors=parsed.parameters.vectors)


async def _delete_record(parsed: ParsedRequest) -> None:
    namespace = parsed.parameters.namespace or "default"
    deleted = await parsed.result(
        lambda bounds: store.DeleteRequest(bounds=bounds, uids=[parsed.uid], namespace=namespace)
    )
    if not deleted:
        raise not_found("there is no record with this uid")


async def _search(parsed: ParsedRequest) -> Any:
    def build(**bounds: Any) -> store.SearchRequest:
        request: store.SearchRequest = parsed.body.build(
            query_vectors=[unpack_vector(parsed.body.query_vector, "query_vector")], **bounds
        )
        return request

    with renamed_field("query_vectors", "query_vector"), renamed_field("query_vectors[0]", "query_vector"):
        [matches] = await parsed.result(build)
    return {"results": Items(matches, json_of_result)}


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
        response_model=results.CollectionOut,
    ),
    Endpoint(operation=ops.LIST_COLLECTIONS, response_model=results.Collections),
    Endpoint(operation=ops.GET_COLLECTION, response_model=results.CollectionOut),
    Endpoint(operation=ops.DELETE_COLLECTION),
    Endpoint(
        operation=ops.STATS,
        response_model=dict[str, JsonValue],
        description="Return counters and sizes, at least `records`, `dim` and `engine`.",
    ),
    Endpoint(
        operation=ops.ADD,
        body=body_of(store.AddRequest, "RecordsIn"),
        response_model=results.StoredUids,
        description="Add or replace records, all or none; durable before the response is sent.",
    ),
    Endpoint(
        operation=ops.PUT,
        body=body_of(store.PutRequest, "WholeRecordsIn"),
        response_model=results.Stored,
        description="Store complete records as a page returned them, with times and places in sessions, all or none.",
    ),
    Endpoint(
        operation=ops.UPDATE,
        body=body_of(store.UpdateRequest, "UpdateIn"),
        response_model=results.Updated,
        description="Change one record in place. Members that are left out keep their values; null clears one.",
    ),
    Endpoint(
        operation=ops.GET,
        body=body_of(store.GetRequest, "NamesIn", vectors=_VECTORS),
        response_model=results.Records,
        description="Return the records with these uids, in order. Unknown uids are left out.",
    ),
    Endpoint(
        operation=ops.DELETE,
        body=body_of(store.DeleteRequest, "DeleteIn"),
        response_model=results.Deleted,
        description="Delete records by uid, by filter, or by both; durable before the response is sent.",
    ),
    Endpoint(
        operation=ops.COUNT,
        body=body_of(store.CountRequest, "ChosenIn"),
        response_model=results.Counted,
        description="Count the records that match a filter.",
    ),
    Endpoint(
        operation=ops.SCAN,
        body=body_of(store.ScanRequest, "ScanIn", vectors=_VECTORS),
        response_model=results.RecordPage,
        handler=handle_page,
        description="Return one page of the records that match a filter, in the order of their uids.",
    ),
    Endpoint(
        operation=ops.LIST_RECORDS,
        parameters=ListRecordsParameters,
        response_model=results.RecordPage,
        handler=handle_page,
        description="Return one page of all records, in the order of their uids.",
    ),
    Endpoint(
        operation=ops.GET_RECORD,
        parameters=GetRecordParameters,
        response_model=results.RecordOut,
        handler=_get_record,
        description="Return one record, of the namespace `default` if none is given; 404 if there is none.",
    ),
    Endpoint(
        operation=ops.DELETE_RECORD,
        parameters=DeleteRecordParameters,
        handler=_delete_record,
        description="Delete one record, of the namespace `default` if none is given; 404 if there is none.",
    ),
    Endpoint(
        operation=ops.SEARCH,
        body=SearchIn,
        response_model=results.Matches,
        handler=_search,
        description="Find the records that are most similar to a vector, best first.",
    ),
    Endpoint(
        operation=ops.SEARCH_BATCH,
        body=body_of(store.SearchRequest, "SearchBatchIn"),
        response_model=results.ManyMatches,
        description="Find the records that are most similar to each of several vectors, best first.",
    ),
    Endpoint(
        operation=ops.SEARCH_HYBRID,
        body=body_of(store.HybridSearchRequest, "HybridIn"),
        response_model=results.Matches,
        description="Find records by the similarity of a vector and by the keywords of a text together, best first.",
    ),
    Endpoint(
        operation=ops.SEARCH_KEYWORDS,
        body=body_of(store.KeywordSearchRequest, "KeywordsIn"),
        response_model=results.Matches,
        description="Find records by the keywords of a text (BM25), best first.",
    ),
)

for endpoint in ENDPOINTS:
    add_endpoint(router, endpoint)
