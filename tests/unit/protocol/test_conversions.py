"""Values become messages and come back the same; what is malformed is named."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents.errors import FilterError, InvalidInputError
from super_advanced_agents.protocol import conversions as to
from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.v1 import agents_pb2, common_pb2, orchestrators_pb2, vector_store_pb2
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


def _sent(message):
    return type(message).FromString(message.SerializeToString())


@given(metadata, reals, texts)
def test_matches_come_back_the_same(found, score, uid):
    """Integers stay integers, which `google.protobuf.Struct` would not do."""
    matches = [Match(found, score, uid), Match({}, 0.0, "b")]
    again = to.matches_of(_sent(common_pb2.Matches(matches=to.match_messages(matches))).matches)
    assert again == matches
    assert [{key: type(value) for key, value in match.metadata.items()} for match in again] == [
        {key: type(value) for key, value in match.metadata.items()} for match in matches
    ]


def test_explanations_come_back_the_same():
    """Those of what a re-ranker has looked at again, too."""
    signal = Signal(name="vector", value=0.5, scaled=0.7, weight=0.4, added=0.28)
    first = Explanation(signals=(signal, signal))
    match = ExplainedMatch({"a": 1}, 0.56, "u", Explanation(signals=(signal,), retrieved=first))
    [again] = to.matches_of(_sent(common_pb2.Matches(matches=to.match_messages([match]))).matches)
    assert isinstance(again, ExplainedMatch)
    assert (again, again.explanation) == (match, match.explanation)


@given(st.data())
def test_records_come_back_the_same(data):
    """What is None stays None, and what is empty stays empty."""
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
    again = to.record_of(_sent(to.record_message(record)), field="record")
    np.testing.assert_array_equal(again.vector, record.vector)
    assert again.vector.flags.writeable
    for name in Record.__dataclass_fields__:
        if name != "vector":
            assert getattr(again, name) == getattr(record, name)


@given(st.data())
def test_what_agents_take_comes_back_the_same(data):
    """Memories and turns, with what they leave out."""
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
    assert to.memory_of(_sent(to.memory_message(memory, field="m")), field="m") == memory
    turn = Turn(
        speaker=draw(texts), text=draw(texts), uid=draw(st.none() | texts), extra=draw(metadata),
        created_at=draw(st.none() | texts | reals),
    )  # fmt: skip
    assert to.turn_of(_sent(to.turn_message(turn, field="t")), field="t") == turn
    answer = Answer(text=draw(texts), sources=[Match(draw(metadata), draw(reals), "u")])
    assert to.answer_of(_sent(to.answer_message(answer))) == answer


def test_descriptions_and_weights_come_back_the_same():
    """Collections, agents, and what counts in a search."""
    collection = CollectionInfo(name="a", dim=3, metric="dot", index="hnsw", storage="sq8", created_at=1.5)
    assert to.collection_of(_sent(to.collection_message(collection))) == collection
    for declared, updated_at in ((True, None), (False, 2.5)):
        agent = AgentInfo(
            name="a", description="d", namespace="n", answer_tokens=5, context_chars=6, rerank=True,
            declared=declared, updated_at=updated_at,
        )  # fmt: skip
        assert to.agent_of(_sent(to.agent_message(agent))) == agent
    weights = Weights(vector=2, keyword=0, recency=0.25)
    assert to.weights_of(_sent(to.weights_message(weights))) == weights
    assert to.weights_of(common_pb2.Weights(keyword=0)) == Weights(keyword=0)
    with pytest.raises(InvalidInputError, match=r"weights\.vector"):
        to.weights_of(common_pb2.Weights(vector=math.nan))


@given(st.lists(names, max_size=5), st.lists(st.none() | reals, max_size=5))
def test_columns_come_back_the_same(words, numbers):
    """Where a column would say nothing it may be left out."""
    assert to.texts_of(to.texts_column(words)) == (words or None)
    assert to.numbers_of(to.numbers_column(numbers)) == (numbers or None)
    assert to.dedupe_of(to.dedupe_message("exact")) == "exact"
    assert to.dedupe_of(to.dedupe_message(None)) is None


def test_vectors_are_packed_and_their_length_is_checked():
    """Little-endian float32, row by row."""
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert to.packed(matrix) == matrix.astype("<f4").tobytes()
    np.testing.assert_array_equal(to.matrix_of(to.packed(matrix), 3, field="v"), matrix)
    np.testing.assert_array_equal(to.matrix_of(to.packed(matrix[:, ::2]), 2, field="v"), matrix[:, ::2])
    assert to.matrix_of(b"", 3, field="v").shape == (0, 3)
    for data, dim, field in ((b"123", 3, "v"), (bytes(16), 3, "v"), (bytes(4), 0, "dim"), (bytes(4), 2**32 - 1, "v")):
        with pytest.raises(InvalidInputError) as caught:
            to.matrix_of(data, dim, field="v")
        assert caught.value.field == field
    with pytest.raises(InvalidInputError, match="v is 5 bytes"):
        to.vector_of(b"12345", field="v")


@pytest.mark.parametrize("data", [b"{", b"[]", b"null", b"1", b'"a"', b"\xff", b'{"a":NaN}', b"{" * 100_000])
def test_what_is_no_json_object_is_refused(data):
    """Metadata as filters; the error names the field and quotes nothing."""
    with pytest.raises(InvalidInputError, match=r"^metadatas\[3\] ") as caught:
        to.metadata_of(data, field="metadatas[3]")
    assert len(str(caught.value)) < 100
    with pytest.raises(FilterError, match="where"):
        to.where_of(data)
    assert to.metadata_of(b"", field="m") == {}
    with pytest.raises(FilterError):
        to.where_of(b"")


def test_the_table_of_methods_is_that_of_the_contract():
    """Every method of proto/, with its classes and kinds, and no other."""
    told = {method.path: method for method in vars(methods).values() if isinstance(method, methods.Method)}
    written = {}
    for file in (vector_store_pb2, agents_pb2, orchestrators_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            for each in service.methods:
                written[f"/{service.full_name}/{each.name}"] = each
    assert set(told) == set(written)
    for path, each in written.items():
        method = told[path]
        assert (each.input_type, each.output_type) == (method.request.DESCRIPTOR, method.reply.DESCRIPTOR)
        assert (method.takes_stream, method.gives_stream) == (each.client_streaming, each.server_streaming)
