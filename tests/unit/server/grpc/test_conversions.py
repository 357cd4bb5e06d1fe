"""Long gRPC messages are parsed and encoded in slices, with the outcome that one call has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents._runtime.concurrency.slices import finished
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.replies import encode_reply
from super_advanced_agents.protocol.v1 import agents_pb2 as agents
from super_advanced_agents.protocol.v1 import vector_store_pb2 as stores
from super_advanced_agents.server.grpc.conversions import (
    MAX_FIELDS,
    encode_in_slices,
    is_long,
    parse,
    parse_in_slices,
)
from super_advanced_agents.types import Match, Record


def _match(i):
    return Match({"text": f"text {i}", "n": i}, 0.5, str(i))


def _record(i):
    others = dict.fromkeys(("model_id", "source", "session", "expires_at"))
    vector = np.full(4, i, np.float32)
    return Record(uid=str(i), vector=vector, metadata={"n": i}, namespace="n", created_at=1.0, updated_at=2.0, **others)


def _outcome(read, frame):
    try:
        return read(frame, stores.AddRequest).SerializeToString()
    except InvalidInputError as exc:
        return str(exc)


def _parse_in_slices(frame, message):
    return finished(parse_in_slices(frame, message))


@given(st.lists(st.text(max_size=9), max_size=9), st.binary(max_size=40), st.integers(0, 2**31), st.data())
def test_message_has_the_same_outcome_in_slices_as_at_once(uids, vectors, dim, data):
    """Whole frames and damaged ones are read alike."""
    frame = stores.AddRequest(collection="c", uids=uids, vectors=vectors, dim=dim, priorities=[0.5]).SerializeToString()
    place = data.draw(st.integers(0, len(frame)))
    for read in (frame, frame[:place], frame[:place] + data.draw(st.binary(max_size=3)) + frame[place:]):
        assert _outcome(_parse_in_slices, read) == _outcome(parse, read)


@pytest.mark.parametrize(
    ("message", "field"),
    [(stores.AddRequest, "uids"), (stores.PutRequest, "records"), (agents.RememberRequest, "memories")],
)
def test_message_of_masses_of_fields_is_refused_before_it_is_parsed(message, field):
    """Empty entries take two bytes each; 8 MiB of them would stop every thread for half a second."""
    tag = message.DESCRIPTOR.fields_by_name[field].number << 3 | 2
    frame = bytes([tag, 0]) * (MAX_FIELDS + 1)
    with pytest.raises(InvalidInputError, match=f"more than {MAX_FIELDS:,} fields"):
        _parse_in_slices(frame, message)


@pytest.mark.parametrize(
    ("result", "message", "member"),
    [
        ([_match(i) for i in range(150)], stores.SearchHybridResponse, "results"),
        ([[_match(i) for i in range(20)] for _ in range(7)], stores.SearchResponse, "results"),
        ([[_match(i) for i in range(150)], [], [_match(0)]], stores.SearchResponse, "results"),
        ([_record(i) for i in range(150)], stores.ScanResponse, "records"),
        ([str(i) for i in range(150)], stores.AddResponse, "uids"),
    ],
)
def test_long_reply_in_slices_is_the_whole_message(result, message, member):
    """Parts of a repeated field may be serialized one after the other."""
    assert is_long(result)
    encoded = finished(encode_in_slices(result, message, member, vectors=True))
    assert message.FromString(encoded) == encode_reply(result, message, member)
