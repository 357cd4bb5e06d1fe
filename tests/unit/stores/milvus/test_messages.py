"""Tests of columns in the messages of Milvus's protocol."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from super_advanced_agents.stores.milvus.engine.messages import add_columns, hits_of, rows_of

KINDS = {"text": "STRING", "number": "INTEGER", "time": "DOUBLE", "yes": "BOOLEAN", "list": "INTEGERS", "v": "VECTOR"}
INTEGERS = st.integers(-(2**63), 2**63 - 1)


@given(st.data(), st.integers(1, 40), st.integers(1, 300))
def test_columns_come_back_as_they_were(data: st.DataObject, rows: int, dim: int):
    """Any strings and numbers, empty lists, and vectors whose length takes one byte or several."""

    def column(values: st.SearchStrategy) -> list:
        return data.draw(st.lists(values, min_size=rows, max_size=rows))

    matrix = data.draw(arrays(np.float32, (rows, dim), elements=st.floats(width=32, allow_nan=False)))
    columns = {
        "text": column(st.text(st.characters(codec="utf-8"), max_size=20)),
        "number": column(INTEGERS),
        "time": column(st.floats(allow_nan=False)),
        "yes": column(st.booleans()),
        "list": column(st.lists(INTEGERS, max_size=5)),
        "v": list(matrix),
    }
    sent = milvus_pb2.UpsertRequest()
    add_columns(sent.fields_data, columns, KINDS)
    found = rows_of(milvus_pb2.UpsertRequest.FromString(sent.SerializeToString()).fields_data)
    assert len(found) == rows
    for at, row in enumerate(found):
        np.testing.assert_array_equal(row.pop("v"), matrix[at])
        assert row == {name: values[at] for name, values in columns.items() if name != "v"}


def test_vectors_are_packed_as_the_library_of_the_protocol_does():
    """The bytes are those of a message whose numbers were appended one by one."""
    matrix = np.arange(600, dtype=np.float32).reshape(2, 300)
    sent = milvus_pb2.UpsertRequest()
    add_columns(sent.fields_data, {"v": list(matrix)}, KINDS)
    expected = schema_pb2.VectorField(dim=300, float_vector=schema_pb2.FloatArray(data=matrix.ravel().tolist()))
    assert sent.fields_data[0].vectors == expected


def test_search_without_a_hit_has_an_empty_list_for_each_query():
    """A server that found nothing sends no counts."""
    assert hits_of(schema_pb2.SearchResultData(), 3) == [[], [], []]
