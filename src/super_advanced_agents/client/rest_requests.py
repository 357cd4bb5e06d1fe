"""Calls of the vector store service as REST requests, and the answers back as its messages.

One encoding serves both transports: what the store's client has packed into messages is told here in JSON. Metadata and
filters are JSON in the messages already, and pass as they are.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson
from google.protobuf.message import Message

from super_advanced_agents.protocol.v1 import common_pb2 as common
from super_advanced_agents.protocol.v1 import vector_store_pb2 as pb


@dataclass(frozen=True, slots=True)
class RestRequest:
    """One HTTP request.

    Attributes:
        verb: the method.
        path: percent-encoded.
        body: JSON, or None.
        read: turns a JSON answer (None for an empty one), or an event's name and JSON, into the call's message.
        missing: the message of an answer that there is no such thing (404), where that is one.
    """

    verb: str
    path: str
    body: bytes | None
    read: Callable[[Any], Message]
    missing: Message | None = None


def add(request: pb.AddRequest) -> RestRequest:
    """`Add`."""
    shown = named_fields(request, "namespace", "model_id")
    shown["vectors"] = _rows(request.vectors, request.dim)
    if request.metadatas:
        shown["metadatas"] = [orjson.Fragment(each or b"{}") for each in request.metadatas]
    for name in ("uids", "sources", "sessions"):
        column: Sequence[str] = getattr(request, name)
        if column:
            shown[name] = [text or None for text in column]
    for name in ("expires_in_s", "priorities"):
        numbers: Sequence[float] = getattr(request, name)
        if numbers:
            shown[name] = [None if math.isnan(number) else number for number in numbers]
    if request.dedupe == common.DEDUPE_EXACT:
        shown["dedupe"] = "exact"
    return _request(request, "POST", "records", shown, lambda told: pb.AddResponse(uids=told["uids"]))


def put(request: pb.PutRequest) -> RestRequest:
    """`Put`."""
    shown = {"records": [_record(record) for record in request.records]}
    return _request(request, "PUT", "records", shown, lambda told: pb.PutResponse(stored=told["stored"]))


def update(request: pb.UpdateRequest) -> RestRequest:
    """`Update`."""
    shown = named_fields(request, "namespace", "model_id", "source", "expires_in_s", "priority")
    shown["uid"] = request.uid
    if request.HasField("changes"):
        shown["changes"] = orjson.Fragment(request.changes)
    if request.HasField("vector"):
        shown["vector"] = _text(request.vector)
    shown |= dict.fromkeys(request.clear)
    return _request(request, "PATCH", "records", shown, lambda told: pb.UpdateResponse(updated=told["updated"]))


def search(request: pb.SearchRequest) -> RestRequest:
    """`Search`."""
    shown = _search(request)
    shown["query_vectors"] = _rows(request.query_vectors, request.dim)
    shown["return_scores"] = not request.omit_scores
    return _request(
        request,
        "POST",
        "search:batch",
        shown,
        lambda told: pb.SearchResponse(
            results=[common.Matches(matches=map(_match, found)) for found in told["results"]]
        ),
    )


def search_hybrid(request: pb.SearchHybridRequest) -> RestRequest:
    """`SearchHybrid`."""
    shown = _search(request)
    shown["query_vector"] = _text(request.query_vector)
    shown["query_text"] = request.query_text
    shown["explain"] = request.explain
    if request.HasField("weights"):
        shown["weights"] = {field.name: value for field, value in request.weights.ListFields()}
    return _request(
        request,
        "POST",
        "search:hybrid",
        shown,
        lambda told: pb.SearchHybridResponse(matches=map(_match, told["results"])),
    )


def search_keywords(request: pb.SearchKeywordsRequest) -> RestRequest:
    """`SearchKeywords`."""
    shown = _search(request)
    shown["query_text"] = request.query_text
    return _request(
        request,
        "POST",
        "search:keywords",
        shown,
        lambda told: pb.SearchKeywordsResponse(matches=map(_match, told["results"])),
    )


def get(request: pb.GetRequest) -> RestRequest:
    """`Get`."""
    shown = named_fields(request, "namespace")
    shown |= {"uids": list(request.uids), "vectors": "base64"}
    return _request(
        request, "POST", "records:get", shown, lambda told: pb.GetResponse(records=map(record_of, told["records"]))
    )


def delete(request: pb.DeleteRequest) -> RestRequest:
    """`Delete`."""
    shown = _chosen(request)
    if request.by_uids:
        shown["uids"] = list(request.uids)
    return _request(request, "POST", "records:delete", shown, lambda told: pb.DeleteResponse(deleted=told["deleted"]))


def count(request: pb.CountRequest) -> RestRequest:
    """`Count`."""
    return _request(
        request, "POST", "records:count", _chosen(request), lambda told: pb.CountResponse(count=told["count"])
    )


def scan(request: pb.ScanRequest) -> RestRequest:
    """`Scan`."""
    shown = _chosen(request) | named_fields(request, "after", "limit")
    shown["vectors"] = "base64"
    return _request(
        request, "POST", "records:scan", shown, lambda told: pb.ScanResponse(records=map(record_of, told["records"]))
    )


def stats(request: pb.StatsRequest) -> RestRequest:
    """`Stats`."""
    return _request(request, "GET", "stats", None, lambda told: pb.StatsResponse(stats=orjson.dumps(told)))


def create_collection(request: pb.CreateCollectionRequest) -> RestRequest:
    """`CreateCollection`."""
    shown = named_fields(request, "metric", "index", "storage") | {"name": request.name, "dim": request.dim}
    return RestRequest("POST", "/v1/collections", orjson.dumps(shown), lambda told: pb.Collection(**told))


def get_collection(request: pb.GetCollectionRequest) -> RestRequest:
    """`GetCollection`."""
    return RestRequest("GET", _path(request.name), None, lambda told: pb.Collection(**told))


def list_collections(request: pb.ListCollectionsRequest) -> RestRequest:
    """`ListCollections`."""
    del request
    return RestRequest(
        "GET",
        "/v1/collections",
        None,
        lambda told: pb.ListCollectionsResponse(collections=[pb.Collection(**each) for each in told["collections"]]),
    )


def delete_collection(request: pb.DeleteCollectionRequest) -> RestRequest:
    """`DeleteCollection`."""
    return RestRequest("DELETE", _path(request.name), None, lambda _: pb.DeleteCollectionResponse())


def _request(
    request: Any, verb: str, path: str, shown: dict[str, Any] | None, read: Callable[[Any], Message]
) -> RestRequest:
    body = None if shown is None else orjson.dumps(shown)
    return RestRequest(verb, f"{_path(request.collection)}/{path}", body, read)


def _path(collection: str) -> str:
    return f"/v1/collections/{quote(collection, safe='')}"


def named_fields(request: Any, *names: str) -> dict[str, Any]:
    """The fields that are there, by name."""
    return {name: getattr(request, name) for name in names if request.HasField(name)}


def _chosen(request: Any) -> dict[str, Any]:
    shown = named_fields(request, "namespace")
    if request.HasField("where"):
        shown["where"] = orjson.Fragment(request.where)
    return shown


def _search(request: Any) -> dict[str, Any]:
    shown = _chosen(request) | named_fields(request, "top_k")
    if "model_id" in request.DESCRIPTOR.fields_by_name:
        shown |= named_fields(request, "model_id")
    return shown


def _text(vector: bytes) -> str:
    return base64.b64encode(vector).decode("ascii")


def _rows(packed: bytes, dim: int) -> list[str]:
    size = 4 * dim
    return [_text(packed[at : at + size]) for at in range(0, len(packed), size)]


def _record(record: common.Record) -> dict[str, Any]:
    return {
        "uid": record.uid,
        "vector": _text(record.vector),
        "metadata": orjson.Fragment(record.metadata or b"{}"),
        "namespace": record.namespace,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        **dict.fromkeys(("model_id", "source", "session", "expires_at", "priority", "place")),
        **named_fields(record, "model_id", "source", "session", "expires_at", "priority", "place"),
    }


def record_of(told: dict[str, Any]) -> common.Record:
    """A record as REST shows it, as the message."""
    vector = told.pop("vector", None)
    metadata = orjson.dumps(told.pop("metadata"))
    return common.Record(vector=base64.b64decode(vector) if vector else b"", metadata=metadata, **told)


def matches_of(told: Iterable[dict[str, Any]]) -> list[common.Match]:
    """Matches as REST shows them, as messages."""
    return [_match(each) for each in told]


def _match(told: dict[str, Any]) -> common.Match:
    explanation = told.get("explanation")
    return common.Match(
        uid=told["uid"],
        score=told["score"],
        metadata=orjson.dumps(told["metadata"]),
        explanation=None if explanation is None else _explanation(explanation),
    )


def _explanation(told: dict[str, Any]) -> common.Explanation:
    retrieved = told.get("retrieved")
    return common.Explanation(
        signals=[common.Signal(**signal) for signal in told["signals"]],
        retrieved=None if retrieved is None else _explanation(retrieved),
    )


STORE: dict[str, Callable[[Any], RestRequest]] = {
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
    "CreateCollection": create_collection,
    "GetCollection": get_collection,
    "ListCollections": list_collections,
    "DeleteCollection": delete_collection,
}
"""How each method of the vector store service is asked for."""
