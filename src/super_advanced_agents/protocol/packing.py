"""JSON and vectors as bytes of a message, both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from super_advanced_agents.errors import FilterError, InvalidInputError
from super_advanced_agents.types import Matrix, Vector

FLOAT = np.dtype("<f4")


# -- JSON -------------------------------------------------------------------------------------------------------------


def json_bytes(value: object, *, field: str) -> bytes:
    """Return a JSON value as bytes.

    Raises:
        InvalidInputError: it holds what JSON in UTF-8 cannot say.
    """
    try:
        return orjson.dumps(value, default=_as_dict)
    except TypeError as exc:
        if field == "where":  # numbers beyond 64 bits compare as floats with whatever is stored
            return json.dumps(value, default=_as_dict).encode()
        raise InvalidInputError(
            f"{field} cannot be sent as JSON",
            field=field,
            hint="integers have at most 64 bits, texts no lone surrogates",
        ) from exc


def _as_dict(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def json_object(data: bytes, *, field: str, or_nothing: bool = False) -> dict[str, Any]:
    """Return the JSON object in `data`; with `or_nothing`, `{}` for no data.

    Raises:
        InvalidInputError: it is none; a `FilterError` where it should be a filter.
    """
    error = FilterError if field == "where" else InvalidInputError
    try:
        value = orjson.loads(b"{}" if or_nothing and not data else data)
    except orjson.JSONDecodeError as exc:
        raise error(f"{field} is not JSON in UTF-8", field=field) from exc
    if type(value) is not dict:
        raise error(f"{field} must be a JSON object", field=field)
    return value


# -- vectors ----------------------------------------------------------------------------------------------------------


def packed(vectors: Matrix | Vector) -> bytes:
    """Return a vector or a matrix as bytes, row by row."""
    return np.ascontiguousarray(vectors, dtype=FLOAT).tobytes()


def vector_of(data: bytes, field: str) -> Vector:
    """Return the (dim,) vector in `data`: a view of it, not to be written to."""
    if len(data) % FLOAT.itemsize:
        raise InvalidInputError(f"{field} is {len(data)} bytes, no whole number of float32", field=field)
    return np.frombuffer(data, dtype=FLOAT).astype(np.float32, copy=False)


def matrix_of(data: bytes, dim: int, field: str) -> Matrix:
    """Return the (n, dim) matrix in `data`: a view of it, not to be written to.

    Raises:
        InvalidInputError: it is no whole number of vectors of that length.
    """
    if not data:
        return np.empty((0, dim), dtype=np.float32)
    if not dim:
        raise InvalidInputError(f"dim must say how long each of {field} is", field="dim")
    if len(data) % (FLOAT.itemsize * dim):
        raise InvalidInputError(
            f"{field} is {len(data)} bytes, no whole number of vectors of {dim} float32", field=field
        )
    return vector_of(data, field).reshape(-1, dim)
