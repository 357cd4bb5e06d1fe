"""Vectors as REST takes them: numbers, or base64 of little-endian float32."""

from __future__ import annotations

import binascii
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.packing import FLOAT

FLOAT_BYTES = FLOAT.itemsize


def unpacked(vector: list[float] | str, field: str) -> ArrayLike:
    """One vector as the library takes it.

    Raises:
        InvalidInputError: it is text, but not base64 of float32.
    """
    if not isinstance(vector, str):
        return vector
    return np.frombuffer(_packed(vector, field), dtype=FLOAT)


def unpacked_all(vectors: Sequence[list[float] | str], field: str) -> ArrayLike | Sequence[ArrayLike]:
    """Many vectors as the library takes them; quick when all are base64 and equally long."""
    if not vectors or not all(isinstance(vector, str) for vector in vectors):
        return [unpacked(vector, f"{field}[{i}]") for i, vector in enumerate(vectors)]
    rows = [_packed(str(vector), f"{field}[{i}]") for i, vector in enumerate(vectors)]
    if len(set(map(len, rows))) > 1:
        return [np.frombuffer(row, dtype=FLOAT) for row in rows]
    return np.frombuffer(b"".join(rows), dtype=FLOAT).reshape(len(rows), -1)


def _packed(text: str, field: str) -> bytes:
    try:
        packed = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidInputError(f"{field} is not base64", field=field) from exc
    if len(packed) % FLOAT_BYTES:
        raise InvalidInputError(f"{field} is not base64 of float32 numbers", field=field)
    return packed
