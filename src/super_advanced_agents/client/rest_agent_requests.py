"""Calls of the agent service as REST requests, and the answers back as its messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import orjson
from google.protobuf.message import Message

from super_advanced_agents.client.rest_requests import RestRequest, matches_of, named_fields, record_of
from super_advanced_agents.protocol.v1 import agents_pb2 as pb
from super_advanced_agents.protocol.v1 import common_pb2 as common

_MODES = {pb.SEARCH_MODE_VECTOR: "vector", pb.SEARCH_MODE_KEYWORD: "keyword"}


def remember(request: pb.RememberRequest) -> RestRequest:
    """`Remember`."""
    shown: dict[str, Any] = {"memories": [_memory(memory) for memory in request.memories]}
    if request.dedupe == common.DEDUPE_EXACT:
        shown["dedupe"] = "exact"
    return _request(request, "POST", "memories", shown, lambda told: pb.RememberResponse(uids=told["uids"]))


def update_memory(request: pb.UpdateMemoryRequest) -> RestRequest:
    """`UpdateMemory`."""
    shown = named_fields(request, "text", "memory_type", "source", "expires_in_s", "priority")
    if request.HasField("extra"):
        shown["extra"] = orjson.Fragment(request.extra)
    shown |= dict.fromkeys(request.clear)
    return _request(
        request,
        "PATCH",
        f"memories/{_encoded(request.uid)}",
        shown,
        lambda _: pb.UpdateMemoryResponse(updated=True),
        missing=pb.UpdateMemoryResponse(updated=False),
    )


def search_memories(request: pb.SearchMemoriesRequest) -> RestRequest:
    """`SearchMemories`."""
    shown = _narrowed(request) | named_fields(request, "top_k", "memory_type", "rerank")
    shown |= {"query": request.query, "mode": _MODES.get(request.mode, "hybrid"), "explain": request.explain}
    if request.HasField("weights"):
        shown["weights"] = {field.name: value for field, value in request.weights.ListFields()}
    return _request(
        request,
        "POST",
        "search",
        shown,
        lambda told: pb.SearchMemoriesResponse(matches=matches_of(told["results"])),
    )


def get_memory(request: pb.GetMemoryRequest) -> RestRequest:
    """`GetMemory`."""
    agent = request.agent
    return _request(
        request,
        "GET",
        f"memories/{_encoded(request.uid)}",
        None,
        lambda told: pb.GetMemoryResponse(memory=_stored(told, agent)),
        missing=pb.GetMemoryResponse(),
    )


def list_memories(request: pb.ListMemoriesRequest) -> RestRequest:
    """`ListMemories`."""
    agent = request.agent
    return _request(
        request,
        "POST",
        "memories:scan",
        _narrowed(request) | named_fields(request, "after", "limit"),
        lambda told: pb.ListMemoriesResponse(memories=[_stored(each, agent) for each in told["memories"]]),
    )


def forget(request: pb.ForgetRequest) -> RestRequest:
    """`Forget`."""
    shown = _narrowed(request)
    if request.by_uids:
        shown["uids"] = list(request.uids)
    return _request(
        request, "POST", "memories:forget", shown, lambda told: pb.ForgetResponse(forgotten=told["deleted"])
    )


def count_memories(request: pb.CountMemoriesRequest) -> RestRequest:
    """`CountMemories`."""
    return _request(
        request,
        "POST",
        "memories:count",
        _narrowed(request),
        lambda told: pb.CountMemoriesResponse(count=told["count"]),
    )


def ask(request: pb.AskRequest) -> RestRequest:
    """`Ask`."""
    return _request(
        request,
        "POST",
        "ask",
        _asked(request),
        lambda told: pb.Answer(text=told["text"], sources=matches_of(told["sources"])),
    )


def ask_stream(request: pb.AskRequest) -> RestRequest:
    """`AskStream`: its answers are events."""
    return _request(request, "POST", "ask", {**_asked(request), "stream": True}, _event)


def _asked(request: pb.AskRequest) -> dict[str, Any]:
    return {"question": request.question, **named_fields(request, "top_k")}


def _event(told: tuple[str, dict[str, Any]]) -> pb.AskEvent:
    name, data = told
    if name == "sources":
        return pb.AskEvent(sources=common.Matches(matches=matches_of(data["results"])))
    return pb.AskEvent(text=data["text"]) if name == "text" else pb.AskEvent(done=data["text"])


def _memory(memory: pb.Memory) -> dict[str, Any]:
    shown = named_fields(memory, "memory_type", "uid", "expires_in_s", "source", "session", "priority")
    shown["text"] = memory.text
    if memory.extra:
        shown["extra"] = orjson.Fragment(memory.extra)
    return shown


def _stored(told: dict[str, Any], agent: str) -> common.Record:
    told.pop("text")  # it is in the metadata
    return record_of({"namespace": agent, **told})


def _narrowed(request: Any) -> dict[str, Any]:
    return {"where": orjson.Fragment(request.where)} if request.HasField("where") else {}


def _encoded(uid: str) -> str:
    return quote(uid, safe="").replace(".", "%2E")  # `..` would be taken for a step in the path


def _request(
    request: Any,
    verb: str,
    path: str,
    shown: dict[str, Any] | None,
    read: Callable[[Any], Message],
    *,
    missing: Message | None = None,
) -> RestRequest:
    return RestRequest(
        verb,
        f"/v1/agents/{quote(request.agent, safe='')}/{path}",
        None if shown is None else orjson.dumps(shown),
        read,
        missing,
    )


AGENT: dict[str, Callable[[Any], RestRequest]] = {
    "Remember": remember,
    "UpdateMemory": update_memory,
    "SearchMemories": search_memories,
    "GetMemory": get_memory,
    "ListMemories": list_memories,
    "Forget": forget,
    "CountMemories": count_memories,
    "Ask": ask,
    "AskStream": ask_stream,
}
"""How each method of the agent service is asked for."""
