"""Values in PostgreSQL's binary formats: vectors, arrays of numbers and of texts."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from super_advanced_agents._runtime.postgres import Packed
from super_advanced_agents.types import Matrix, Vector

PgStorage: TypeAlias = Literal["vector", "halfvec"]
"""The type of the vectors' column: 4 or 2 bytes a number."""

_NUMBERS: dict[PgStorage, str] = {"vector": ">f4", "halfvec": ">f2"}
_INT_OIDS = {2: 21, 4: 23, 8: 20}
_TEXT_OID = 25
_UNSAFE_NORMS = (1e-15, 1e15)
"""Shorter or longer vectors would overflow the squares that pgvector sums in 4 bytes."""

_ESCAPES = str.maketrans({"\0": "\x01\x01", "\x01": "\x01\x02"})
"""NUL, which `jsonb` cannot hold, and the next character, so that texts keep their order."""


def _array(element_oid: int, count: int, elements: bytes) -> Packed:
    return Packed(struct.pack(">iiIii", 1, 0, element_oid, count, 1) + elements)


def packed_integers(values: Sequence[int] | NDArray[np.signedinteger], *, size: Literal[2, 4, 8] = 8) -> Packed:
    """Return integers as an array of `smallint`, `integer` or `bigint`, by `size` in bytes."""
    numbers = np.asarray(values, dtype=np.int64)
    table = np.empty(len(numbers), dtype=[("length", ">i4"), ("value", f">i{size}")])
    table["length"], table["value"] = size, numbers
    return _array(_INT_OIDS[size], len(numbers), table.tobytes())


def packed_texts(values: Sequence[str]) -> Packed:
    """Return texts as an array of `text`."""
    parts: list[bytes] = []
    for value in values:
        encoded = value.encode()
        parts += (len(encoded).to_bytes(4, "big"), encoded)
    return _array(_TEXT_OID, len(values), b"".join(parts))


Column: TypeAlias = "list[bytes] | None"
"""The values of a column for COPY, each after its length; None for NULL in all rows."""

_NULL = b"\xff\xff\xff\xff"


def copied_numbers(values: Sequence[float | None] | NDArray[Any], kind: Literal[">i8", ">f8"]) -> Column:
    """Return numbers of 8 bytes as a column."""
    if isinstance(values, list) and None in values:
        if values.count(None) == len(values):
            return None
        filled = [0 if each is None else each for each in values]
        column = copied_numbers(filled, kind)
        assert column is not None
        return _with_nulls(column, values)
    table = np.empty(len(values), dtype=[("length", ">i4"), ("value", kind)])
    table["length"], table["value"] = 8, values
    return _slices(table.tobytes(), len(values))


def copied_texts(values: Sequence[str | bytes | None], *, prefix: bytes = b"") -> Column:
    """Return texts or bytes as a column; `prefix` begins each (the version byte of `jsonb`)."""
    if values.count(None) == len(values):
        return None
    encoded = [each.encode() if isinstance(each, str) else each for each in values]
    return [_NULL if each is None else (len(each) + len(prefix)).to_bytes(4, "big") + prefix + each for each in encoded]


def copied_rows(columns: Sequence[list[bytes]]) -> bytes:
    """Return the rows of these columns in the binary format of COPY."""
    count = len(columns).to_bytes(2, "big")
    rows = chain.from_iterable(zip(repeat(count), *columns, strict=False))
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"".join(rows) + b"\xff\xff"


def _with_nulls(column: list[bytes], values: Sequence[object]) -> Column:
    return [_NULL if value is None else each for each, value in zip(column, values, strict=True)]


def _slices(data: bytes, n: int) -> list[bytes]:
    size = len(data) // n if n else 1
    return [data[start : start + size] for start in range(0, len(data), size)]


class VectorCodec:
    """Pack and unpack the vectors of one table.

    Args:
        storage: the type of the column.
        element_oid: the number of that type in the database.
    """

    def __init__(self, storage: PgStorage, element_oid: int) -> None:
        self.storage = storage
        self._numbers = np.dtype(_NUMBERS[storage])
        self._element_oid = element_oid

    def packed(self, vector: Vector) -> Packed:
        """Return one vector as a parameter."""
        return Packed(struct.pack(">hh", len(vector), 0) + vector.astype(self._numbers).tobytes())

    def packed_rows(self, matrix: Matrix) -> Packed:
        """Return the rows of a matrix as an array of vectors."""
        return _array(self._element_oid, len(matrix), self._elements(matrix))

    def copied(self, matrix: Matrix) -> list[bytes]:
        """Return the rows of a matrix as a column for COPY."""
        return _slices(self._elements(matrix), len(matrix))

    def _elements(self, matrix: Matrix) -> bytes:
        n, dim = matrix.shape
        layout = [("length", ">i4"), ("dim", ">i2"), ("zero", ">i2"), ("numbers", self._numbers, (dim,))]
        table = np.zeros(n, dtype=layout)
        table["length"], table["dim"], table["numbers"] = 4 + dim * self._numbers.itemsize, dim, matrix
        return table.tobytes()

    def unpacked(self, data: bytes) -> Vector:
        """Return the vector that the database sent in binary format."""
        return np.frombuffer(data, dtype=self._numbers, offset=4).astype(np.float32)


def raw_bytes(vector: Vector) -> bytes:
    """Return a vector's numbers for the column `original`."""
    return vector.astype("<f4").tobytes()


def of_raw_bytes(data: bytes) -> Vector:
    """Return the vector of the column `original`."""
    return np.frombuffer(data, dtype="<f4").astype(np.float32)


def needs_original(matrix: Matrix) -> NDArray[np.bool_]:
    """Return which rows are too long or too short for pgvector, and are stored at length 1."""
    norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64))
    return cast("NDArray[np.bool_]", (norms < _UNSAFE_NORMS[0]) | (norms > _UNSAFE_NORMS[1]))


def filterable(text: str) -> str:
    """Return a text as `jsonb` holds it, which cannot hold NUL."""
    return text.translate(_ESCAPES) if "\0" in text or "\x01" in text else text
