"""The largest legal requests of every operation, with the largest answers that they may ask for."""

from __future__ import annotations

import base64
import json
import random
from typing import NamedTuple

import numpy as np

DIM, WIDE_DIM, COUNT = 384, 1_536, 1_000
TEXT = ("word " * 13_107)[: 64 * 1024]
VALUES = list(range(1_000))
SHUFFLED = random.Random(1).sample(VALUES, len(VALUES))
UIDS = [f"{n:0256}" for n in range(COUNT)]
UPLOAD = "UPLOAD"
"""Stands in a path for the id that the call before was answered with."""

_COLLECTION, _AGENT, _ORCHESTRATOR = "/v1/collections/c", "/v1/agents/default", "/v1/orchestrators/none"


class Call(NamedTuple):
    """One request of REST, MCP or OpenAI's API, and the statuses that are right for it."""

    method: str
    path: str
    body: object = None
    statuses: tuple[int, ...] = (200, 201, 202, 204)

    def encoded(self):
        """Return the body as bytes."""
        if isinstance(self.body, bytes):
            return self.body
        return None if self.body is None else json.dumps(self.body, separators=(",", ":")).encode()


def _vectors(count, dim, digits):
    numbers = np.random.default_rng(1).random((count, dim)).round(digits)
    return numbers.tolist()


def _base64(vector):
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()


def _metadata(n):
    return {f"field{j}": j for j in range(500)} | {"n": n}


def _records():
    empty = dict.fromkeys(("model_id", "source", "session", "expires_at", "place", "priority"))
    return [
        {
            "uid": f"put{n}",
            "vector": _base64(vector),
            "metadata": _metadata(n) if n < 500 else {"text": "x" * 200},
            "namespace": "default",
            "created_at": 1.0,
            "updated_at": 2.0,
            **empty,
        }
        for n, vector in enumerate(_vectors(COUNT, DIM, 4))
    ]


def _tool(name, **arguments):
    params = {"name": name, "arguments": arguments}
    return Call("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


def _orchestrated(action, **members):
    # There is no orchestrator; the body is read before that is found.
    return (Call("POST", f"{_ORCHESTRATOR}/{action}", {"query": TEXT, **members}, (404,)),)


def _many_values():
    # As many values as a body may hold, which a schema without limits of its own takes one by one.
    return [0] * 1_900_000, [{}] * 190_000, {f"k{n}": n for n in range(300_000)}


def _search(path, **members):
    return Call("POST", path, {"top_k": COUNT, "where": {"n": {"$nin": VALUES}}, **members})


def setup_calls():
    """Return the calls that create the collections and fill them, some of them as large as is legal."""
    yield Call("POST", "/v1/collections", {"name": "c", "dim": DIM})
    yield Call("POST", "/v1/collections", {"name": "wide", "dim": WIDE_DIM})
    metadatas = [{"text": "x" * 200, "a": n} for n in range(COUNT)]
    body = {"vectors": _vectors(COUNT, DIM, 6), "metadatas": metadatas, "uids": [f"r{n}" for n in range(COUNT)]}
    yield Call("POST", f"{_COLLECTION}/records", body)
    memories = [{"text": f"memory {n}", "uid": f"m{n}", "extra": _metadata(n)} for n in range(COUNT)]
    yield Call("POST", f"{_AGENT}/memories", {"memories": memories})


def _process_calls():
    return {
        "health": (),
        "healthHead": (),
        "readiness": (),
        "readinessHead": (),
        "openapi": (Call("GET", "/openapi.json"),),
        "openapiHead": (),
        "metrics": (),  # for keys with the scope `metrics` alone
        "listAuditEntries": (Call("GET", "/v1/audit?limit=1000"),),
        "stats": (Call("GET", "/v1/stats"),),
    }


def _collection_calls():
    query, uids = _vectors(1, DIM, 4)[0], [f"r{n}" for n in range(COUNT)]
    return {
        "addRecords": (Call("POST", "/v1/collections/wide/records", {"vectors": _vectors(COUNT, WIDE_DIM, 2)}),),
        "putRecords": (Call("PUT", f"{_COLLECTION}/records", {"records": _records()}),),
        "updateRecord": (Call("PATCH", f"{_COLLECTION}/records", {"uid": "r1", "changes": _metadata(1)}),),
        "deleteRecords": (Call("POST", f"{_COLLECTION}/records:delete", {"uids": UIDS}),),
        "getRecords": (Call("POST", f"{_COLLECTION}/records:get", {"uids": uids}),),
        "countRecords": (Call("POST", f"{_COLLECTION}/records:count", {"where": {"a": {"$in": SHUFFLED}}}),),
        "scanRecords": (
            Call("POST", f"{_COLLECTION}/records:scan", {"where": {"a": {"$in": SHUFFLED}}, "limit": COUNT}),
        ),
        "searchCollectionBatch": (
            Call("POST", f"{_COLLECTION}/search:batch", {"query_vectors": _vectors(100, DIM, 4), "top_k": 100}),
        ),
        "searchCollection": (_search(f"{_COLLECTION}/search", query_vector=query),),
        "searchCollectionHybrid": (
            _search(f"{_COLLECTION}/search:hybrid", query_vector=query, query_text=TEXT, explain=True),
        ),
        "searchCollectionKeywords": (_search(f"{_COLLECTION}/search:keywords", query_text=TEXT),),
        "collectionStats": (Call("GET", f"{_COLLECTION}/stats"),),
        "listRecords": (Call("GET", f"{_COLLECTION}/records?limit={COUNT}"),),
        "getRecord": (Call("GET", f"{_COLLECTION}/records/r1"),),
        "deleteRecord": (Call("DELETE", f"{_COLLECTION}/records/r2"),),
        "createCollection": (),
        "listCollections": (Call("GET", "/v1/collections"),),
        "getCollection": (Call("GET", _COLLECTION),),
        "deleteCollection": (),
    }


def _agent_calls():
    return {
        "search": (_search("/search", query=TEXT, explain=True),),
        "remember": (
            Call(
                "POST",
                f"{_AGENT}/memories",
                {"memories": [{"text": f"more {n}", "extra": _metadata(n)} for n in range(COUNT)]},
            ),
        ),
        "updateMemory": (Call("PATCH", f"{_AGENT}/memories/m1", {"text": TEXT, "extra": _metadata(1)}),),
        "relocateMemories": (
            Call(
                "POST",
                f"{_AGENT}/memories:relocate",
                {"memories": [{"uid": f"m{n}", "extra": {"lines": [n, n]}} for n in range(COUNT)]},
            ),
            Call("POST", f"{_AGENT}/memories:relocate", {"order": [f"m{n}" for n in range(COUNT)]}),
        ),
        "searchMemories": (_search(f"{_AGENT}/search", query=TEXT, explain=True),),
        "recall": (Call("GET", f"{_AGENT}/memories/m2"),),
        "scanMemories": (Call("POST", f"{_AGENT}/memories:scan", {"where": {"n": {"$in": SHUFFLED}}, "limit": COUNT}),),
        "listMemories": (Call("GET", f"{_AGENT}/memories?limit={COUNT}"),),
        "forgetMemories": (Call("POST", f"{_AGENT}/memories:forget", {"uids": UIDS}),),
        "forget": (Call("DELETE", f"{_AGENT}/memories/m3"),),
        "countMemories": (Call("POST", f"{_AGENT}/memories:count", {"where": {"n": {"$in": SHUFFLED}}}),),
        "countAllMemories": (Call("GET", f"{_AGENT}/memories:count"),),
        "agentChat": (Call("POST", f"{_AGENT}/chat", {"message": "one word", "top_k": 100}),),
        "ask": (Call("POST", f"{_AGENT}/ask", {"question": "one word", "top_k": COUNT}),),
        "listAgents": (Call("GET", "/v1/agents"),),
        "getAgent": (),
        "putAgent": (Call("PUT", "/v1/agents/b", {"description": "d" * 1_000}),),
        "deleteAgent": (),
    }


def _orchestrator_calls():
    return {
        "route": _orchestrated("route"),
        "chain": _orchestrated("chain", names=["a"] * 1_000),
        "fallback": _orchestrated("fallback", primary="a", backup=["a"] * 1_000),
        "parallel": _orchestrated("parallel", names=["a"] * 1_000),
        "collaborate": _orchestrated("collaborate", names=["a"] * 1_000),
        "supervise": (),
        "listOrchestrators": (Call("GET", "/v1/orchestrators"),),
    }


def _job_calls():
    return {
        "submitJob": (
            Call("POST", "/v1/jobs", {"kind": "ask_agent", "arguments": {"question": "x" * 1_000_000}}),
            *(Call("POST", "/v1/jobs", {"kind": "ask_agent", "arguments": {"v": v}}, (422,)) for v in _many_values()),
        ),
        "listJobs": (Call("GET", f"/v1/jobs?limit={COUNT}"),),
        "retryJobs": (Call("POST", "/v1/jobs:retry"),),
        "getJob": (),
        "watchJob": (),
        "cancelJob": (),
        "retryJob": (),
        "createUpload": (Call("POST", "/v1/uploads", {"name": "n" * 256}),),
        "addPart": (Call("POST", f"/v1/uploads/{UPLOAD}?offset=0", bytes(8 * 1024 * 1024)),),
        "listUploads": (Call("GET", "/v1/uploads"),),
        "deleteUpload": (),
        "listSchedules": (Call("GET", "/v1/schedules"),),
        "putSchedule": (
            Call(
                "PUT",
                "/v1/schedules/s",
                {"kind": "ask_agent", "cron": "0 0 1 1 *", "arguments": {"question": "x" * 15_000}},
            ),
            *(
                Call(
                    "PUT",
                    "/v1/schedules/s",
                    {"kind": "ask_agent", "cron": "0 0 1 1 *", "arguments": {"v": v}},
                    (422,),
                )
                for v in _many_values()
            ),
        ),
        "pauseSchedule": (),
        "deleteSchedule": (),
    }


def _other_calls():
    return {
        "embeddings": tuple(
            Call(
                "POST",
                "/v1/embeddings",
                {"model": "all-MiniLM-L6-v2", "input": [f"text {n}" for n in range(COUNT)], "encoding_format": form},
            )
            for form in ("float", "base64")
        ),
        "chat": (
            Call(
                "POST",
                "/v1/chat/completions",
                {"model": "m", "messages": [{"role": "user", "content": "one word " * 400}] * 1_000},
            ),
        ),
        "models": (Call("GET", "/v1/models"),),
        "model": (Call("GET", "/v1/models/m"),),
        "mcp": (
            _tool("remember", text=TEXT, extra=_metadata(1)),
            _tool("recall", query=TEXT, top_k=COUNT),
            _tool("forget", uids=UIDS),
            _tool("ask", question="one word", top_k=COUNT),
            _tool("job_status", id="x" * 256),
        ),
        "mcpAgent": (_tool("recall", query="x", top_k=COUNT)._replace(path="/mcp/default"),),
    }


def largest_calls():
    """Return the largest legal calls of each operation that has a route, by its name; none where all are short."""
    return {
        **_process_calls(),
        **_collection_calls(),
        **_agent_calls(),
        **_orchestrator_calls(),
        **_job_calls(),
        **_other_calls(),
    }
