"""Columns of rows as the messages of Milvus's protocol, and back.

pymilvus makes a Python object of each number and a dictionary of each value. Here columns stay lists, and a matrix of
vectors is copied as bytes: 1,000 vectors of 384 numbers take 1 ms in place of 50.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pymilvus.grpc_gen import common_pb2, schema_pb2

from super_advanced_agents.types import Matrix

_FLOATS_TAG = b"\x0a"
"""The first byte of a `FloatArray`, before the length of its list in bytes and the numbers."""
_PLACEHOLDER = "$0"
_ARRAYS = {"STRING": "string_data", "INTEGER": "long_data", "DOUBLE": "double_data", "BOOLEAN": "bool_data"}
_TYPES = {
    "STRING": schema_pb2.DataType.VarChar,
    "INTEGER": schema_pb2.DataType.Int64,
    "DOUBLE": schema_pb2.DataType.Double,
    "BOOLEAN": schema_pb2.DataType.Bool,
    "INTEGERS": schema_pb2.DataType.Array,
    "VECTOR": schema_pb2.DataType.FloatVector,
}


def add_columns(fields: Any, columns: Mapping[str, Sequence[Any]], kinds: Mapping[str, str]) -> None:
    """Append columns to the `fields_data` of a request.

    Args:
        fields: the list of the request.
        columns: the values of each column, as many in each; those of a vector column are float32 arrays.
        kinds: the kind of each column, such as `"STRING"`.
    """
    for name, values in columns.items():
        kind = kinds[name]
        field = fields.add(type=_TYPES[kind], field_name=name)
        if kind == "VECTOR":
            matrix = np.ascontiguousarray(values, dtype="<f4")
            field.vectors.dim = matrix.shape[1]
            field.vectors.float_vector.MergeFromString(_packed(matrix))
        elif kind == "INTEGERS":
            rows = field.scalars.array_data.data
            for numbers in values:
                row = rows.add().long_data
                row.SetInParent()  # else a row without numbers has no type
                row.data.extend(numbers)
        else:
            getattr(field.scalars, _ARRAYS[kind]).data.extend(values)


def rows_of(fields: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the rows of the `fields_data` of an answer: column -> value."""
    names, columns = [], []
    for field in fields:
        names.append(field.field_name)
        columns.append(_values(field))
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def hits_of(results: Any, queries: int) -> list[list[dict[str, Any]]]:
    """Return the rows of a search for each query.

    Each has its key in `pk`, and its similarity in `distance`.
    """
    rows = rows_of(results.fields_data)
    for row, key, score in zip(rows, results.ids.str_id.data, results.scores, strict=True):
        row["pk"], row["distance"] = key, score
    found, start = [], 0
    for count in list(results.topks) or [0] * queries:
        found.append(rows[start : start + count])
        start += count
    return found


def placeholders(queries: Matrix) -> bytes:
    """Return the query vectors of a search, as its message holds them."""
    value = common_pb2.PlaceholderValue(
        tag=_PLACEHOLDER,
        type=common_pb2.PlaceholderType.FloatVector,
        values=[query.tobytes() for query in np.ascontiguousarray(queries, dtype="<f4")],
    )
    encoded: bytes = common_pb2.PlaceholderGroup(placeholders=[value]).SerializeToString()
    return encoded


def _values(field: Any) -> Sequence[Any]:
    if field.WhichOneof("field") == "vectors":
        return _matrix(field.vectors)
    kind = field.scalars.WhichOneof("data")
    if kind is None:
        return []
    data = getattr(field.scalars, kind).data
    return [list(row.long_data.data) for row in data] if kind == "array_data" else list(data)


def _packed(matrix: Matrix) -> bytes:
    length, size = bytearray(), matrix.nbytes
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return b"%s%s%s" % (_FLOATS_TAG, length, matrix.tobytes())


def _matrix(vectors: Any) -> Sequence[Any]:
    count = len(vectors.float_vector.data)
    if not count:
        return []
    encoded = vectors.float_vector.SerializeToString()  # the numbers are its last bytes
    numbers = np.frombuffer(encoded, dtype="<f4", offset=len(encoded) - 4 * count)
    return list(numbers.reshape(-1, vectors.dim).astype(np.float32))
