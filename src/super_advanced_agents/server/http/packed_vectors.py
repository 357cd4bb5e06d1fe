"""Vectors in JSON: lists of numbers, or base64 of little-endian float32."""

from __future__ import annotations

import binascii
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.packing import FLOAT

FLOAT_BYTES = FLOAT.itemsize


def unpack_vector(vector: list[float] | str, field: str) -> ArrayLike:
    """Convert a vector from a list of numbers, or base64 of float32, to an array.

    Args:
        vector: numbers, or base64 of them.
        field: its name in the body, for errors.

    Returns:
        A float64 array of the numbers, or a float32 array, of shape `(dim,)`.

    Raises:
        InvalidInputError: it is text, but not base64 of float32.
    """
    if not isinstance(vector, str):
        return np.array(vector, dtype=np.float64)
    return np.frombuffer(_decode(vector, field), dtype=FLOAT)


def unpack_vectors(vectors: Sequence[list[float] | str], field: str) -> ArrayLike | Sequence[ArrayLike]:
    """Convert vectors from lists of numbers, or base64 of float32, to arrays.

    Each list is converted by itself: one call for all of them would keep the GIL for 100 ms. Where all are base64 of
    one length, they are one float32 array of shape `(n, dim)`, made by a single copy.
    """
    if not vectors or not all(isinstance(vector, str) for vector in vectors):
        return [unpack_vector(vector, f"{field}[{i}]") for i, vector in enumerate(vectors)]
    rows = [_decode(str(vector), f"{field}[{i}]") for i, vector in enumerate(vectors)]
    if len(set(map(len, rows))) > 1:
        return [np.frombuffer(row, dtype=FLOAT) for row in rows]
    return np.frombuffer(b"".join(rows), dtype=FLOAT).reshape(len(rows), -1)


def _decode(text: str, field: str) -> bytes:
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidInputError(f"{field} is not base64", field=field) from exc
    if len(raw) % FLOAT_BYTES:
        raise InvalidInputError(f"{field} is not base64 of float32 numbers", field=field)
    return raw
