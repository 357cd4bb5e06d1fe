"""Values survive encoding into messages and decoding, and malformed ones are refused by name."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents.errors import FilterError, InvalidInputError
from super_advanced_agents.protocol import codec, methods, packing, replies
from super_advanced_agents.protocol.json_codec import json_of_request
from super_advanced_agents.protocol.match_messages import match_message, match_of
from super_advanced_agents.protocol.operations import OPERATIONS
from super_advanced_agents.protocol.requests import RememberTurnsRequest, SearchMemoriesRequest
from super_advanced_agents.protocol.v1 import agents_pb2, common_pb2, jobs_pb2, orchestrators_pb2, vector_store_pb2
from super_advanced_agents.stores.requests import (
    AddRequest,
    Bounds,
    CountRequest,
    DeleteRequest,
    GetRequest,
    HybridSearchRequest,
    KeywordSearchRequest,
    ScanRequest,
    SearchRequest,
    UpdateRequest,
)
from super_advanced_agents.types import (
    AgentInfo,
    Answer,
    CollectionInfo,
    ExplainedMatch,
    Explanation,
    Match,
    Memory,
    Record,
    Signal,
    Turn,
    Weights,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.none() | texts.filter(bool)
reals = st.floats(allow_nan=False, allow_infinity=False)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | reals | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
metadata = st.dictionaries(texts, json, max_size=4)


def _over_the_wire(message):
    return type(message).FromString(message.SerializeToString())


def _round_trip(value, message):
    return codec.decode(_over_the_wire(codec.encode(value, message)), type(value))


def _round_trip_matches(matches):
    sent = _over_the_wire(common_pb2.Matches(matches=map(match_message, matches)))
    return [match_of(each) for each in sent.matches]


match_metadata = metadata.filter(lambda found: "text" not in found or isinstance(found["text"], str))


@given(match_metadata, reals, texts)
def test_matches_survive_a_round_trip(found, score, uid):
    """Integers stay integers; `google.protobuf.Struct` would make them floats."""
    matches = [Match(found, score, uid), Match({}, 0.0, "b")]
    decoded = _round_trip_matches(matches)
    assert decoded == matches
    assert [{key: type(value) for key, value in match.metadata.items()} for match in decoded] == [
        {key: type(value) for key, value in match.metadata.items()} for match in matches
    ]


def test_explanations_survive_a_round_trip():
    """The explanation of a re-ranker contains that of the search before it."""
    signal = Signal(name="vector", value=0.5, scaled=0.7, weight=0.4, added=0.28)
    first = Explanation(signals=(signal, signal))
    match = ExplainedMatch({"a": 1}, 0.56, "u", Explanation(signals=(signal,), retrieved=first))
    [decoded] = _round_trip_matches([match])
    assert isinstance(decoded, ExplainedMatch)
    assert (decoded, decoded.explanation) == (match, match.explanation)


@given(st.data())
def test_records_survive_a_round_trip(data):
    """None stays None, and empty values stay empty."""
    draw = data.draw
    record = Record(
        uid=draw(texts),
        vector=np.array(draw(st.lists(st.floats(width=32), min_size=1, max_size=9)), np.float32),
        metadata=draw(metadata),
        namespace=draw(texts),
        model_id=draw(st.none() | texts),
        source=draw(st.none() | texts),
        session=draw(st.none() | texts),
        created_at=draw(reals),
        updated_at=draw(reals),
        expires_at=draw(st.none() | reals),
        priority=draw(st.none() | reals),
        place=draw(st.none() | st.integers(0, 2**53 - 1)),
    )
    [decoded] = replies.decode_reply(
        _over_the_wire(replies.encode_reply([record], vector_store_pb2.GetResponse, "records")), "records", list[Record]
    )
    np.testing.assert_array_equal(decoded.vector, record.vector)
    assert decoded.vector.flags.writeable
    for name in Record.__dataclass_fields__:
        if name != "vector":
            assert getattr(decoded, name) == getattr(record, name)


@given(st.data())
def test_memories_turns_and_answers_survive_a_round_trip(data):
    """Fields that are left out stay left out."""
    draw = data.draw
    memory = Memory(
        text=draw(texts),
        memory_type=draw(texts),
        uid=draw(st.none() | texts),
        extra=draw(metadata),
        expires_in_s=draw(st.none() | reals),
        source=draw(st.none() | texts),
        session=draw(st.none() | texts),
        priority=draw(st.none() | reals),
    )
    assert _round_trip(memory, agents_pb2.Memory) == memory
    turn = Turn(
        speaker=draw(texts), text=draw(texts), uid=draw(st.none() | texts), extra=draw(metadata),
        created_at=draw(st.none() | texts | reals),
    )  # fmt: skip
    assert _round_trip(RememberTurnsRequest(turns=[turn]), agents_pb2.RememberTurnsRequest).turns == [turn]
    answer = Answer(text=draw(texts), sources=[Match(draw(match_metadata), draw(reals), "u")])
    assert _round_trip(answer, agents_pb2.Answer) == answer


def test_collections_agents_and_weights_survive_a_round_trip():
    """A weight that is no finite number is refused."""
    collection = CollectionInfo(name="a", dim=3, metric="dot", index="hnsw", storage="sq8", created_at=1.5)
    assert _round_trip(collection, vector_store_pb2.Collection) == collection
    for declared, updated_at in ((True, None), (False, 2.5)):
        agent = AgentInfo(
            name="a", description="d", namespace="n", answer_tokens=5, context_chars=6, rerank=True,
            declared=declared, updated_at=updated_at,
        )  # fmt: skip
        assert _round_trip(agent, agents_pb2.Agent) == agent
    weights = Weights(vector=2, keyword=0, recency=0.25)
    assert _round_trip(weights, common_pb2.Weights) == weights
    assert codec.decode(common_pb2.Weights(keyword=0), Weights) == Weights(keyword=0)
    with pytest.raises(InvalidInputError, match=r"weights\.vector"):
        codec.decode(common_pb2.Weights(vector=math.nan), Weights)


uids = st.text("abcXYZ019", min_size=1, max_size=9)
filters = st.none() | st.fixed_dictionaries(
    {"a": st.integers() | texts | st.lists(texts).map(lambda among: {"$in": among})}
)
rows = st.lists(st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3), min_size=1, max_size=4)
BOUNDS = Bounds(dim=3)


def _column(draw, values, n):
    return draw(st.none() | st.lists(st.none() | values, min_size=n, max_size=n))


def _requests(draw):
    """Yield one store request of every kind that travels, with random fields."""
    vectors = draw(rows)
    n = len(vectors)
    where = {"where": draw(filters), "namespace": draw(st.none() | uids)}
    search = {**where, "top_k": draw(st.integers(1, 1_000))}
    unchanged = st.just(...) | st.none()
    yield AddRequest(
        bounds=BOUNDS, vectors=vectors, metadatas=draw(st.none() | st.lists(st.just({"a": 1}), min_size=n, max_size=n)),
        uids=_column(draw, uids, n), sources=_column(draw, uids, n), sessions=_column(draw, uids, n),
        expires_in_s=_column(draw, st.floats(1, 9), n), priorities=_column(draw, st.floats(-1, 9), n),
        dedupe=draw(st.sampled_from([None, "exact"])), model_id=draw(st.none() | uids), namespace=where["namespace"],
    )  # fmt: skip
    yield UpdateRequest(
        bounds=BOUNDS, uid=draw(uids), changes=draw(st.none() | st.just({"a": None})), source=draw(unchanged | uids),
        expires_in_s=draw(unchanged | st.floats(1, 9)), priority=draw(unchanged | st.floats(-1, 9)),
        vector=draw(st.none() | st.just(vectors[0])), namespace=where["namespace"],
    )  # fmt: skip
    yield DeleteRequest(bounds=BOUNDS, uids=draw(st.lists(uids)), **where)
    yield DeleteRequest(bounds=BOUNDS, where={}, namespace=where["namespace"])
    yield SearchRequest(bounds=BOUNDS, query_vectors=vectors, return_scores=draw(st.booleans()), **search)
    yield HybridSearchRequest(
        bounds=BOUNDS, query_vector=vectors[0], query_text="a", explain=draw(st.booleans()),
        weights=draw(st.none() | st.just(Weights(recency=1))), **search,
    )  # fmt: skip
    yield KeywordSearchRequest(bounds=BOUNDS, query_text="a", **search)
    yield GetRequest(bounds=BOUNDS, uids=draw(st.lists(uids)), namespace=where["namespace"])
    yield CountRequest(bounds=BOUNDS, **where)
    yield ScanRequest(bounds=BOUNDS, after=draw(st.none() | uids), limit=draw(st.integers(1, 1_000)), **where)


@given(st.data())
def test_store_requests_survive_a_round_trip(data):
    """Every field of every kind is compared in messages; JSON bodies contain only known fields."""
    for request in _requests(data.draw):
        operation = next(each for each in OPERATIONS if each.request is type(request) and each.rpc is not None)
        message = _over_the_wire(codec.encode(request, operation.rpc.request, collection="c"))
        _assert_equal_requests(codec.decode(message, type(request), bounds=BOUNDS), request)
        assert message.collection == "c"
        json_body = json_of_request(request)
        assert json_body.keys() <= {each.name for each in fields(request)}
        orjson.dumps(json_body)


def _assert_equal_requests(decoded, request):
    for each in fields(request):
        left, right = getattr(decoded, each.name), getattr(request, each.name)
        if isinstance(right, np.ndarray):
            np.testing.assert_array_equal(left, right)
        elif each.name in ("uids", "sources", "sessions", "expires_in_s", "priorities", "metadatas") and not right:
            assert not left  # an empty column may be left out
        elif each.init:
            assert left == right, each.name


def test_unknown_enum_value_is_refused_with_its_field():
    """A newer client may send a value that this server does not know."""
    for message, cls in ((agents_pb2.SearchMemoriesRequest(query="q", mode=9), SearchMemoriesRequest),):
        with pytest.raises(InvalidInputError, match="mode has no meaning 9"):
            codec.decode(message, cls)


def test_vectors_are_packed_as_little_endian_float32_with_checked_length():
    """Rows follow one another, and an error names the field."""
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert packing.pack_vectors(matrix) == matrix.astype("<f4").tobytes()
    np.testing.assert_array_equal(packing.unpack_matrix(packing.pack_vectors(matrix), 3, "v"), matrix)
    np.testing.assert_array_equal(packing.unpack_matrix(packing.pack_vectors(matrix[:, ::2]), 2, "v"), matrix[:, ::2])
    assert packing.unpack_matrix(b"", 3, "v").shape == (0, 3)
    for data, dim, field in ((b"123", 3, "v"), (bytes(16), 3, "v"), (bytes(4), 0, "dim"), (bytes(4), 2**32 - 1, "v")):
        with pytest.raises(InvalidInputError) as caught:
            packing.unpack_matrix(data, dim, "v")
        assert caught.value.field == field
    with pytest.raises(InvalidInputError, match="v is 5 bytes"):
        packing.unpack_vector(b"12345", "v")


@pytest.mark.parametrize("data", [b"{", b"[]", b"null", b"1", b'"a"', b"\xff", b'{"a":NaN}', b"{" * 100_000])
def test_bytes_that_are_no_json_object_are_refused(data):
    """Metadata and filters are refused alike; the error names the field and quotes nothing."""
    with pytest.raises(InvalidInputError, match=r"^metadatas\[3\] ") as caught:
        packing.json_object(data, field="metadatas[3]")
    assert len(str(caught.value)) < 100
    with pytest.raises(FilterError, match="where"):
        packing.json_object(data, field="where")
    assert packing.json_object(b"", field="m", allow_empty=True) == {}
    with pytest.raises(FilterError):
        codec.decode(vector_store_pb2.DeleteRequest(where=b""), DeleteRequest, bounds=BOUNDS)


def test_method_table_matches_the_proto_files():
    """Each method has the message classes and the streaming kinds of proto/, and there is no other."""
    table = {method.path: method for method in vars(methods).values() if isinstance(method, methods.Method)}
    declared = {}
    for file in (vector_store_pb2, agents_pb2, orchestrators_pb2, jobs_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            for each in service.methods:
                declared[f"/{service.full_name}/{each.name}"] = each
    assert set(table) == set(declared)
    for path, each in declared.items():
        method = table[path]
        assert (each.input_type, each.output_type) == (method.request.DESCRIPTOR, method.reply.DESCRIPTOR)
        assert (method.takes_stream, method.gives_stream) == (each.client_streaming, each.server_streaming)
