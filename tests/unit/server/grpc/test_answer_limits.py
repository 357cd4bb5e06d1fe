"""Test that limits of filters and answers hold over gRPC, and that unread streams end."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import orjson
import pytest
from tests.unit.server.grpc.conftest import connected_caller, opened_services

from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.packing import pack_vectors
from super_advanced_agents.protocol.v1 import vector_store_pb2 as messages

DIM = 4
ROWS = np.eye(DIM, dtype=np.float32)


async def _store(caller, records, text, **options):
    create = messages.CreateCollectionRequest(name="notes", dim=DIM)
    await caller.invoke(methods.CREATE_COLLECTION, create, **options)
    metadata = orjson.dumps({"text": text})
    for start in range(0, records, 100):
        request = messages.AddRequest(
            collection="notes",
            dim=DIM,
            vectors=pack_vectors(np.tile(ROWS[0], (100, 1))),
            uids=[f"{i:05}" for i in range(start, start + 100)],
            metadatas=[metadata] * 100,
        )
        await caller.invoke(methods.ADD, request, **options)


@pytest.mark.parametrize(
    ("where", "field"),
    [
        ({"a": {"$in": list(range(1_001))}}, "a"),
        ({"a": {"$contains": "x" * 65_537}}, "a"),
        ({"$or": [{"a": i} for i in range(65)]}, "where"),
    ],
    ids=["values", "bytes", "terms"],
)
async def test_filter_beyond_a_limit_is_refused_over_grpc_as_over_rest(caller, where, field):
    """The problem names the field and the limit."""
    await _store(caller, 0, "")
    request = messages.CountRequest(collection="notes", where=orjson.dumps(where))
    code, problem, _ = await caller.refusal(methods.COUNT, request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert problem["field"] == field


async def test_search_whose_answer_would_be_too_large_is_refused(caller):
    """A message of some hundred bytes cannot ask for hundreds of MiB."""
    await _store(caller, 100, "x" * 60_000)
    queries = pack_vectors(np.tile(ROWS[0], (20, 1)))
    request = messages.SearchRequest(collection="notes", dim=DIM, query_vectors=queries, top_k=100)
    code, problem, _ = await caller.refusal(methods.SEARCH, request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert problem["field"] == "top_k"
    request = messages.GetRequest(collection="notes", uids=["00001"] * 1_000)
    code, problem, _ = await caller.refusal(methods.GET, request)
    assert (code, problem["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "uids")


async def test_stream_of_records_goes_on_after_a_page_that_ends_early(caller):
    """Pages of 8 MiB end before their limit of records; the stream holds every record once all the same."""
    await _store(caller, 300, "x" * 60_000)
    request = messages.ScanRequest(collection="notes", limit=1_000)
    replies = await caller.invoke(methods.SCAN_STREAM, request)
    assert [record.uid for reply in replies for record in reply.records] == [f"{i:05}" for i in range(300)]


async def test_stream_ends_when_its_caller_does_not_read(tmp_path, caplog):
    """A caller that reads on gets what was on the way to it, and then an error instead of the rest."""
    caplog.set_level("INFO", logger="super_advanced_agents.server")
    async with opened_services(tmp_path, write_timeout_s=0.2) as services, connected_caller(services) as caller:
        await _store(caller, 500, "x" * 60_000)
        call = caller.call(methods.SCAN_STREAM, messages.ScanRequest(collection="notes", limit=1_000), timeout=100)
        async with asyncio.timeout(60):
            unread = aiter(call)
            replies = [await anext(unread)]
            while "server.reader_left_behind" not in caplog.messages:
                await caller.invoke(methods.COUNT, messages.CountRequest(collection="notes"))
            with pytest.raises(grpc.aio.AioRpcError) as dropped:
                replies.extend([reply async for reply in unread])
        assert dropped.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "did not read" in dropped.value.details()
        assert sum(len(reply.records) for reply in replies) < 500


async def test_long_answers_of_a_stream_of_searches_come_in_order_and_release_their_bytes(tmp_path):
    """Each is read after those before it, with the bytes of one answer; short ones are searched ahead of it."""
    async with opened_services(tmp_path) as services, connected_caller(services) as caller:
        await _store(caller, 100, "x" * 30_000)
        counts = [100, 2, 90, 95, 3, 100, 1, 80]
        query = pack_vectors(ROWS[:1])
        searches = [
            messages.SearchRequest(collection="notes", dim=DIM, query_vectors=query, top_k=count) for count in counts
        ]
        call = caller.call(methods.SEARCH_STREAM, *searches, timeout=100)
        replies = []
        async for reply in call:
            replies.append(len(reply.results[0].matches))
            assert services.sending.reserved_bytes < 128 * 1024 * 1024
        assert replies == counts
        assert services.sending.reserved_bytes == 0
