"""Test the vector store service over gRPC, in single calls and in streams."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from super_advanced_agents.config import LIMITS
from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.codec import decode
from super_advanced_agents.protocol.match_messages import match_of
from super_advanced_agents.protocol.packing import pack_vectors
from super_advanced_agents.protocol.replies import decode_reply
from super_advanced_agents.protocol.v1 import vector_store_pb2 as messages
from super_advanced_agents.types import CollectionInfo, Match, Record

ROWS = np.random.default_rng(7).normal(size=(40, 8)).astype(np.float32)


@pytest.fixture
async def notes(caller):
    """Connect a caller whose tenant has the collection `notes`."""
    await caller.invoke(methods.CREATE_COLLECTION, messages.CreateCollectionRequest(name="notes", dim=8))
    return caller


def _add_request(start, stop, **fields):
    return messages.AddRequest(
        collection="notes",
        dim=8,
        vectors=pack_vectors(ROWS[start:stop]),
        uids=[f"u{i:02}" for i in range(start, stop)],
        metadatas=[b'{"n":%d}' % i for i in range(start, stop)],
        **fields,
    )


async def test_vector_store_service_carries_out_every_operation(notes):
    """Records are added, found, updated, counted, read and deleted."""
    assert list((await notes.invoke(methods.ADD, _add_request(0, 40))).uids) == [f"u{i:02}" for i in range(40)]
    query = messages.SearchRequest(collection="notes", dim=8, query_vectors=pack_vectors(ROWS[3:5]), top_k=2)
    found = await notes.invoke(methods.SEARCH, query)
    assert [match_of(each.matches[0]).uid for each in found.results] == ["u03", "u04"]
    assert [len(each.matches) for each in found.results] == [2, 2]
    hybrid = messages.SearchHybridRequest(
        collection="notes", query_vector=pack_vectors(ROWS[3]), query_text="x", top_k=1, explain=True
    )
    [match] = decode_reply(await notes.invoke(methods.SEARCH_HYBRID, hybrid), "results", list[Match])
    assert (match.uid, match.metadata) == ("u03", {"n": 3})
    assert match.explanation.total == pytest.approx(match.score)
    update = messages.UpdateRequest(collection="notes", uid="u03", changes=b'{"text":"a zebra"}', source="zoo")
    assert (await notes.invoke(methods.UPDATE, update)).updated
    [keyword_match] = (
        await notes.invoke(
            methods.SEARCH_KEYWORDS, messages.SearchKeywordsRequest(collection="notes", query_text="zebras")
        )
    ).results
    assert keyword_match.uid == "u03"
    answer = await notes.invoke(methods.GET, messages.GetRequest(collection="notes", uids=["u03"]))
    [record] = decode_reply(answer, "records", list[Record])
    assert (record.metadata, record.source) == ({"n": 3, "text": "a zebra"}, "zoo")
    np.testing.assert_array_equal(record.vector, ROWS[3])
    assert (await notes.invoke(methods.PUT, messages.PutRequest(collection="notes"))).stored == 0
    count = messages.CountRequest(collection="notes", where=b'{"n":{"$lt":5}}')
    assert (await notes.invoke(methods.COUNT, count)).count == 5
    delete = messages.DeleteRequest(collection="notes", where=count.where)
    assert (await notes.invoke(methods.DELETE, delete)).deleted == 5
    page = await notes.invoke(methods.SCAN, messages.ScanRequest(collection="notes", limit=2))
    assert [record.uid for record in page.records] == ["u05", "u06"]
    assert (
        decode_reply(await notes.invoke(methods.STATS, messages.StatsRequest(collection="notes")), "", dict)["records"]
        == 35
    )


async def test_collections_are_created_listed_and_deleted_over_grpc(caller):
    """Absent fields take the library's defaults, and errors the statuses of the error table."""
    create = messages.CreateCollectionRequest(name="a", dim=3, metric="dot")
    info = decode(await caller.invoke(methods.CREATE_COLLECTION, create), CollectionInfo)
    assert (info.name, info.dim, info.metric, info.index, info.storage) == (
        "a",
        3,
        "dot",
        "auto",
        "fp32",
    )
    code, problem, _ = await caller.refusal(methods.CREATE_COLLECTION, create)
    assert (code, problem["error"]) == (grpc.StatusCode.ALREADY_EXISTS, "CollectionExistsError")
    [listed] = (await caller.invoke(methods.LIST_COLLECTIONS, messages.ListCollectionsRequest())).collections
    assert decode(listed, CollectionInfo) == info
    assert (
        decode(await caller.invoke(methods.GET_COLLECTION, messages.GetCollectionRequest(name="a")), CollectionInfo)
        == info
    )
    await caller.invoke(methods.DELETE_COLLECTION, messages.DeleteCollectionRequest(name="a"))
    for method in (methods.DELETE_COLLECTION, methods.GET_COLLECTION):
        code, problem, _ = await caller.refusal(method, method.request(name="a"))
        assert (code, problem["error"]) == (grpc.StatusCode.NOT_FOUND, "CollectionNotFoundError")


async def test_stream_carries_many_batches_and_pages_over_one_call(notes):
    """Requests are answered in their order."""
    added = await notes.invoke(methods.ADD_STREAM, _add_request(0, 10), _add_request(10, 30), _add_request(30, 40))
    assert [len(each.uids) for each in added] == [10, 20, 10]
    queries = [
        messages.SearchRequest(collection="notes", dim=8, query_vectors=pack_vectors(row), top_k=1) for row in ROWS
    ]
    found = await notes.invoke(methods.SEARCH_STREAM, *queries)
    assert [each.results[0].matches[0].uid for each in found] == [f"u{i:02}" for i in range(40)]
    pages = await notes.invoke(methods.SCAN_STREAM, messages.ScanRequest(collection="notes", limit=15, after="u00"))
    assert [record.uid for page in pages for record in page.records] == [f"u{i:02}" for i in range(1, 40)]
    assert len(pages) == 3


async def test_search_stream_answers_each_request_before_the_next_is_sent(notes):
    """A caller may wait for each answer before it sends its next request."""
    await notes.invoke(methods.ADD, _add_request(0, 40))
    stream = notes.channel.stream_stream(
        methods.SEARCH_STREAM.path, response_deserializer=messages.SearchResponse.FromString
    )(timeout=30)
    for row in ROWS[:3]:
        request = messages.SearchRequest(collection="notes", dim=8, query_vectors=pack_vectors(row), top_k=1)
        await stream.write(request.SerializeToString())
        assert len((await stream.read()).results) == 1
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF


async def test_invalid_batch_ends_its_stream_and_keeps_the_batches_before_it(notes):
    """Neither the invalid batch nor those after it are stored."""
    invalid = messages.AddRequest(collection="notes", dim=8, vectors=b"123")
    call = notes.call(methods.ADD_STREAM, _add_request(0, 10), invalid, _add_request(10, 20))
    assert len((await call.read()).uids) == 10
    assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert (await notes.invoke(methods.COUNT, messages.CountRequest(collection="notes"))).count == 10
    code, _, _ = await notes.refusal(methods.SEARCH_STREAM, messages.SearchRequest(collection="notes"), invalid)
    assert code == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("method", "fields", "field"),
    [
        (methods.ADD, {"dim": 8, "vectors": b"123"}, "vectors"),
        (methods.ADD, {"dim": 0, "vectors": b"1234"}, "dim"),
        (methods.ADD, {"dim": 7, "vectors": pack_vectors(ROWS[0, :7])}, "vectors"),
        (methods.ADD, {"dim": 8, "vectors": pack_vectors(ROWS[:1]), "metadatas": [b"[]"]}, "metadatas[0]"),
        (methods.ADD, {"dim": 8, "vectors": pack_vectors(ROWS[:1]), "metadatas": [b"{" * 9_000]}, "metadatas[0]"),
        (methods.ADD, {"dim": 8, "vectors": pack_vectors(ROWS[:1]), "uids": ["a", "b"]}, "uids"),
        (methods.ADD, {"dim": 8, "vectors": pack_vectors(ROWS[:1]), "dedupe": 9}, "dedupe"),
        (methods.ADD, {"dim": 8, "vectors": pack_vectors(ROWS[:1]), "namespace": "x\n"}, "namespace"),
        (methods.SEARCH, {"dim": 8, "query_vectors": pack_vectors(ROWS[:1]), "top_k": 0}, "top_k"),
        (methods.SEARCH, {"dim": 8, "query_vectors": pack_vectors(ROWS[:1]), "top_k": 10**9}, "top_k"),
        (methods.SEARCH, {"dim": 8, "query_vectors": pack_vectors(ROWS[:1]), "where": b""}, "where"),
        (methods.SEARCH, {"dim": 8, "query_vectors": pack_vectors(ROWS[:1]), "where": b'{"a":{"$where":1}}'}, "a"),
        (
            methods.SEARCH,
            {"dim": 8, "query_vectors": pack_vectors(ROWS[:1]), "where": b'{"\xc3\xa4":{"$no":1}}'},
            "\u00e4",
        ),
        (methods.UPDATE, {"uid": "a", "clear": ["uid"]}, "clear"),
        (methods.UPDATE, {"uid": "a", "source": "s", "clear": ["source"]}, "source"),
        (methods.UPDATE, {"uid": "a", "changes": b"\xff"}, "changes"),
        (methods.DELETE, {}, "uids"),
        (methods.DELETE, {"uids": ["a"]}, "by_uids"),
        (methods.SCAN, {"limit": -1}, "limit"),
        (methods.PUT, {"records": [{"uid": "a", "vector": b"12345"}]}, "records[0].vector"),
    ],
)
async def test_malformed_vector_store_request_names_its_field(notes, method, fields, field):
    """Nothing is stored."""
    code, problem, _ = await notes.refusal(method, method.request(collection="notes", **fields))
    assert (code, problem.get("field", "")) == (grpc.StatusCode.INVALID_ARGUMENT, field), problem
    assert (await notes.invoke(methods.COUNT, messages.CountRequest(collection="notes"))).count == 0


async def test_undecodable_frame_is_answered_invalid_argument(notes):
    """Broken frames and invalid UTF-8 are the caller's mistake, not the server's failure."""
    for frame in (b"\xff\xff\xff", b"\x0a\x02\xff\xfe"):
        code, problem, _ = await notes.refusal(methods.ADD, frames=[frame])
        assert (code, problem["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "message")


async def test_message_beyond_the_size_limit_is_answered_resource_exhausted(notes):
    """grpc refuses it before it is read."""
    code, _, _ = await notes.refusal(methods.ADD, messages.AddRequest(vectors=bytes(LIMITS.message_bytes)))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_error_about_a_very_long_name_has_a_short_detail(notes):
    """Trailing metadata has a size limit of its own."""
    code, problem, _ = await notes.refusal(methods.COUNT, messages.CountRequest(collection="\u00e4" * 1_000_000))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert len(problem["detail"]) < 600
