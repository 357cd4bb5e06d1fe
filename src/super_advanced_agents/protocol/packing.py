"""Conversion of JSON objects and float32 vectors to bytes in protobuf messages, and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson

from super_advanced_agents.errors import FilterError, InvalidInputError
from super_advanced_agents.protocol.json_parser import INLINE_BYTES, parse_json
from super_advanced_agents.stores.records.record_fields import plain_value
from super_advanced_agents.types import Matrix, Vector

FLOAT = np.dtype("<f4")


# -- JSON -------------------------------------------------------------------------------------------------------------


def json_bytes(value: object, *, field: str) -> bytes:
    """Serialize a JSON value to UTF-8 bytes.

    Args:
        value: mappings may be of any class.
        field: the name of the value in errors; `"where"` allows integers beyond 64 bits.

    Raises:
        InvalidInputError: the value holds something that JSON in UTF-8 cannot represent.
    """
    try:
        return orjson.dumps(value, default=plain_value)
    except TypeError as exc:
        if field == "where":  # integers beyond 64 bits, which compare as floats with the stored values
            return json.dumps(value, default=plain_value).encode()
        raise InvalidInputError(
            f"{field} cannot be sent as JSON",
            field=field,
            hint="integers have at most 64 bits, texts no lone surrogates",
        ) from exc


def json_object(data: bytes, *, field: str, allow_empty: bool = False) -> dict[str, Any]:
    """Parse a JSON object from UTF-8 bytes.

    Args:
        data: the bytes.
        field: the name of the value in errors.
        allow_empty: True returns `{}` for no bytes.

    Raises:
        FilterError: `field` is `"where"`, and `data` is not a JSON object.
        InvalidInputError: another field is not a JSON object.
    """
    error = FilterError if field == "where" else InvalidInputError
    try:
        if len(data) > INLINE_BYTES:
            value = parse_json(data, field)
        else:
            value = orjson.loads(b"{}" if allow_empty and not data else data)
    except InvalidInputError as exc:
        raise error(exc.message, field=field, hint=exc.hint) from exc
    except orjson.JSONDecodeError as exc:
        raise error(f"{field} is not JSON in UTF-8", field=field) from exc
    if type(value) is not dict:
        raise error(f"{field} must be a JSON object", field=field)
    return value


# -- vectors ----------------------------------------------------------------------------------------------------------


def pack_vectors(vectors: Matrix | Vector) -> bytes:
    """Serialize a vector or a matrix to little-endian float32 bytes, row by row."""
    return np.ascontiguousarray(vectors, dtype=FLOAT).tobytes()


def unpack_vector(data: bytes, field: str) -> Vector:
    """Parse a (dim,) float32 vector from bytes; the result is a read-only view of the bytes.

    Raises:
        InvalidInputError: the length is not a multiple of 4 bytes.
    """
    if len(data) % FLOAT.itemsize:
        raise InvalidInputError(f"{field} is {len(data)} bytes, not a whole number of float32", field=field)
    return np.frombuffer(data, dtype=FLOAT).astype(np.float32, copy=False)


def unpack_matrix(data: bytes, dim: int, field: str) -> Matrix:
    """Parse an (n, dim) float32 matrix from bytes; the result is a read-only view of the bytes.

    Raises:
        InvalidInputError: `dim` is 0, or the length is not a multiple of a row's.
    """
    if not data:
        return np.empty((0, dim), dtype=np.float32)
    if not dim:
        raise InvalidInputError(f"dim must be the length of each vector in {field}", field="dim")
    if len(data) % (FLOAT.itemsize * dim):
        raise InvalidInputError(
            f"{field} is {len(data)} bytes, not a whole number of vectors of {dim} float32", field=field
        )
    return unpack_vector(data, field).reshape(-1, dim)
