"""Validation of the arguments of store operations, such as vectors, uids and metadata.

Each `checked_...` function returns the valid value, or raises InvalidInputError with the name of the field.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import TypeGuard, TypeVar, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from super_advanced_agents.config import LIMITS, Limits, checked_agent_name
from super_advanced_agents.errors import (
    DimensionMismatchError,
    InvalidInputError,
    ModelMismatchError,
)
from super_advanced_agents.stores.records.documents import Document, checked_document
from super_advanced_agents.types import Dedupe, Matrix, Record, Weights

Value = TypeVar("Value")

_MAX_LIFETIME_S = 1e11  # three thousand years
_MAX_TIME_S = 1e12
_MAX_PLACES = 2**53  # the integers below it are exact in every JSON reader
_MAX_DOT_NORM = 1e18  # the dot product of two such vectors still fits a float32


def checked_matrix(vectors: ArrayLike | Sequence[ArrayLike], dim: int, *, field: str) -> Matrix:
    """Validate vectors, and copy them to an (n, dim) float32 matrix of finite numbers.

    Raises:
        DimensionMismatchError: a row has another length than `dim`.
        InvalidInputError: a value is not a number, not finite, or too large for float32.
    """
    if isinstance(vectors, np.ndarray) and vectors.dtype == np.float32 and vectors.shape[1:] == (dim,):
        return _check_finite(
            np.array(vectors, order="C"), field
        )  # the common case of embeddings, in a third of the time
    try:
        array = np.asarray(vectors)
    except (TypeError, ValueError, OverflowError) as exc:
        raise _matrix_error(vectors, dim, field) from exc
    if array.dtype.kind not in "fiu":  # numpy would convert strings to numbers, and None to NaN
        raise _matrix_error(vectors, dim, field)
    with np.errstate(over="ignore", invalid="ignore"):
        matrix = np.array(array, dtype=np.float32, order="C", ndmin=1)
    if matrix.size == 0 and matrix.ndim <= 2 and len(matrix) == 0:
        return np.empty((0, dim), dtype=np.float32)
    if matrix.ndim != 2:
        raise InvalidInputError(f"{field} must be (n, {dim}) numbers, not of shape {matrix.shape}", field=field)
    if matrix.shape[1] != dim:
        raise DimensionMismatchError(
            f"{field} has {matrix.shape[1]} numbers a vector, the store holds {dim}", field=field
        )
    return _check_finite(matrix, field)


def _check_finite(matrix: Matrix, field: str) -> Matrix:
    numbers = np.isfinite(matrix)
    if not numbers.all():
        finite = numbers.all(axis=1)
        row = int(np.argmin(finite))
        raise InvalidInputError(f"{field}[{row}] holds a number that is not a finite float32", field=f"{field}[{row}]")
    return matrix


def _matrix_error(vectors: object, dim: int, field: str) -> InvalidInputError:
    # The message names the row that made the conversion fail.
    if isinstance(vectors, Sequence):
        for row, vector in enumerate(vectors):
            try:
                array = np.asarray(vector)
            except (TypeError, ValueError, OverflowError):
                return InvalidInputError(f"{field}[{row}] is not a list of numbers", field=f"{field}[{row}]")
            if array.shape != (dim,) and (array.size == 0 or array.dtype.kind in "fiu"):
                return DimensionMismatchError(
                    f"{field}[{row}] is of shape {array.shape}, the store holds ({dim},)", field=f"{field}[{row}]"
                )
            if array.dtype.kind not in "fiu":
                return InvalidInputError(f"{field}[{row}] is not a list of numbers", field=f"{field}[{row}]")
    return InvalidInputError(f"{field} is not a matrix of numbers", field=field)


def unit_rows(matrix: Matrix, *, field: str) -> Matrix:
    """Return a matrix with its rows scaled to norm 1, so that their dot products are cosines.

    Raises:
        InvalidInputError: a row is zero, which has no direction.
    """
    norms = _nonzero_norms(matrix, field)
    units: Matrix = (matrix / norms[:, None]).astype(np.float32, copy=False)
    return units


def nonzero_rows(matrix: Matrix, *, field: str) -> Matrix:
    """Return a matrix unchanged if each of its rows has a direction.

    Raises:
        InvalidInputError: a row is zero.
    """
    _nonzero_norms(matrix, field)
    return matrix


def bounded_rows(matrix: Matrix, *, field: str) -> Matrix:
    """Return a matrix unchanged if its rows are short enough for dot products to fit a float32.

    Raises:
        InvalidInputError: a row is longer than 1e18, so that a dot product could overflow float32.
    """
    norms = _row_norms(matrix)
    if len(norms) and norms.max() > _MAX_DOT_NORM:
        row = int(np.argmax(norms))
        raise InvalidInputError(
            f"{field}[{row}] has a length beyond {_MAX_DOT_NORM:g}", field=f"{field}[{row}]", hint="scale it down"
        )
    return matrix


def _nonzero_norms(matrix: Matrix, field: str) -> NDArray[np.float64]:
    norms = _row_norms(matrix)
    if not norms.all():
        row = int(np.argmin(norms))
        raise InvalidInputError(
            f"{field}[{row}] is zero, which has no cosine with anything",
            field=f"{field}[{row}]",
            hint="leave it out, or use metric='dot'",
        )
    return norms


def _row_norms(matrix: Matrix) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64))
    return lengths


def checked_uid(uid: object, *, field: str, limits: Limits) -> str:
    """Return `uid` if it is a printable string of 1 to `limits.uid_chars` characters.

    Raises:
        InvalidInputError: it is not a string, empty, too long, or has a character that cannot be printed.
    """
    if not isinstance(uid, str):
        raise InvalidInputError(f"{field} must be a string, not {type(uid).__name__}", field=field)
    if not 0 < len(uid) <= limits.uid_chars:
        raise InvalidInputError(f"{field} must have 1 to {limits.uid_chars} characters", field=field)
    if not uid.isprintable():  # control characters, NUL and lone surrogates
        raise InvalidInputError(f"{field} holds a character that cannot be printed", field=field)
    return uid


def checked_source(source: object, *, field: str) -> str | None:
    """Return `source` if it is None or a printable string of 1 to 1,024 characters. Else raise InvalidInputError."""
    if source is None or (isinstance(source, str) and 0 < len(source) <= LIMITS.source_chars and source.isprintable()):
        return source
    raise InvalidInputError(f"{field} must be a printable string of 1 to {LIMITS.source_chars} characters", field=field)


def checked_model_id(model_id: object, *, field: str = "model_id") -> str | None:
    """Return `model_id` if it is None or a printable string of 1 to 1,024 characters. Else raise InvalidInputError."""
    return checked_source(model_id, field=field)


def model_mismatch(namespace: str, stored: str, given: str) -> ModelMismatchError:
    """Build the error for a vector whose embedding model is not that of its namespace."""
    return ModelMismatchError(
        f"namespace {namespace!r} holds vectors of the embedding model {stored!r}, not of {given!r}",
        hint=f"use {stored!r}, or rebuild the vectors with `saa reembed`",
    )


def checked_priority(priority: object, *, field: str) -> float | None:
    """Return a priority as a float if it is a finite number, or None if it is None. Else raise InvalidInputError."""
    if priority is None:
        return None
    if not _is_finite(priority):
        raise InvalidInputError(f"{field} must be a finite number, not {priority!r:.80}", field=field)
    return float(priority)


def checked_dedupe(dedupe: object) -> Dedupe | None:
    """Return `dedupe` if it is None or `"exact"`. Else raise InvalidInputError."""
    if dedupe is not None and dedupe not in get_args(Dedupe):
        raise InvalidInputError(f"dedupe must be 'exact' or None, not {dedupe!r:.80}", field="dedupe")
    return cast("Dedupe | None", dedupe)


def checked_time(seconds: object, *, field: str) -> float:
    """Return seconds since the epoch as a float if it is a number from -1e12 to 1e12. Else raise InvalidInputError."""
    if not _is_finite(seconds) or abs(seconds) > _MAX_TIME_S:
        raise InvalidInputError(f"{field} must be seconds since the epoch, not {seconds!r:.80}", field=field)
    return float(seconds)


def checked_place(place: object, *, field: str) -> int | None:
    """Return a record's position in its session if it is None or an integer from 0. Else raise InvalidInputError."""
    if place is not None and (isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < _MAX_PLACES):
        raise InvalidInputError(f"{field} must be an integer from 0 to 2**53 - 1, not {place!r:.80}", field=field)
    return place


def checked_records(records: object) -> Sequence[Record]:
    """Return `records` if it is a list of `Record` objects, with any field values. Else raise InvalidInputError."""
    if isinstance(records, str | bytes) or not isinstance(records, Sequence):
        raise InvalidInputError(f"records must be a list, not {type(records).__name__}", field="records")
    for i, record in enumerate(records):
        if not isinstance(record, Record):
            raise InvalidInputError(
                f"records[{i}] must be a Record, not {type(record).__name__}", field=f"records[{i}]"
            )
    return records


def _is_finite(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond float64
        return False


def checked_unless_ellipsis(value: object, check: Callable[..., Value], *, field: str) -> Value | EllipsisType:
    """Return `check(value)`, or `...` as it is: it stands for leaving the stored value alone."""
    return value if isinstance(value, EllipsisType) else check(value, field=field)


def checked_list(values: Sequence[object] | None, n: int, *, field: str) -> Sequence[object]:
    """Return `values` if it is a list of `n` entries, or `[None] * n` if it is None. Else raise InvalidInputError."""
    if values is None:
        return [None] * n
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InvalidInputError(f"{field} must be a list, not {type(values).__name__}", field=field)
    if len(values) != n:
        raise InvalidInputError(f"{field} has {len(values)} entries for {n} vectors", field=field)
    return values


def checked_each(
    values: Sequence[object] | None, n: int, check: Callable[..., Value], *, field: str
) -> Sequence[Value | None] | None:
    """Validate a list with one optional value for each of `n` records; keep None for each None.

    Return None if `values` is None. Raise InvalidInputError for a list of another length, or a value that `check`
    refuses.
    """
    if values is None:
        return None
    entries = checked_list(values, n, field=field)
    return [None if value is None else check(value, field=f"{field}[{i}]") for i, value in enumerate(entries)]


def checked_uids(uids: object, *, limits: Limits) -> list[str]:
    """Return `uids` if it is a list of at most `limits.batch_records` valid uids. Else raise InvalidInputError."""
    if isinstance(uids, str) or not isinstance(uids, Sequence):
        raise InvalidInputError("uids must be a list of strings", field="uids", hint="put a single uid in a list")
    if len(uids) > limits.batch_records:
        raise InvalidInputError(
            f"uids has {len(uids)} entries, the limit of one batch is {limits.batch_records}",
            field="uids",
            hint="send several batches, or raise limits.batch_records",
        )
    return [checked_uid(uid, field=f"uids[{i}]", limits=limits) for i, uid in enumerate(uids)]


def checked_record(record: Record, *, field: str, limits: Limits) -> Document:
    """Validate a record's fields except the vector, and return its metadata as a `Document`."""
    checked_agent_name(record.namespace, f"{field}.namespace")
    checked_uid(record.uid, field=f"{field}.uid", limits=limits)
    checked_model_id(record.model_id, field=f"{field}.model_id")
    checked_source(record.source, field=f"{field}.source")
    checked_source(record.session, field=f"{field}.session")
    checked_priority(record.priority, field=f"{field}.priority")
    checked_time(record.created_at, field=f"{field}.created_at")
    checked_time(record.updated_at, field=f"{field}.updated_at")
    if record.expires_at is not None:
        checked_time(record.expires_at, field=f"{field}.expires_at")
    checked_place(record.place, field=f"{field}.place")
    return checked_document(record.metadata, field=f"{field}.metadata", limits=limits, stored=True)


def checked_predicate(filter_fn: object) -> None:
    """Raise InvalidInputError unless `filter_fn`, the predicate of a search, can be called."""
    if not callable(filter_fn):
        raise InvalidInputError(f"filter_fn must be callable, not {type(filter_fn).__name__}", field="filter_fn")


def checked_weights(weights: Weights | None) -> Weights:
    """Return `weights` if it is a `Weights`, or the default `Weights()` if it is None. Else raise InvalidInputError."""
    if weights is not None and not isinstance(weights, Weights):
        raise InvalidInputError(f"weights must be a Weights, not {type(weights).__name__}", field="weights")
    return weights or Weights()


def checked_top_k(top_k: int, *, limits: Limits, queries: int = 1) -> int:
    """Return `top_k` if it is an integer from 1 to `limits.top_k`. Else raise InvalidInputError.

    With several queries, `queries * top_k` must not exceed `limits.matches` either.
    """
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= limits.top_k:
        raise InvalidInputError(f"top_k must be an integer from 1 to {limits.top_k}, not {top_k!r}", field="top_k")
    if queries * top_k > limits.matches:
        raise InvalidInputError(
            f"{queries} queries with top_k {top_k} ask for more than {limits.matches} matches (matches)",
            field="top_k",
            hint="ask for fewer matches, or send fewer queries in one call",
        )
    return top_k


def checked_min_similarity(similarity: object, *, at_most: float = math.inf) -> float | None:
    """Return the least similarity of matches as a float if it is a finite number, or None. Else raise.

    Args:
        similarity: the argument.
        at_most: the largest absolute value; 1 where similarities are cosines.

    Raises:
        InvalidInputError: it is something else.
    """
    if similarity is None:
        return None
    if not _is_finite(similarity) or abs(similarity) > at_most:
        meant = "a finite number" if at_most == math.inf else f"a number from {-at_most:g} to {at_most:g}"
        raise InvalidInputError(f"min_similarity must be {meant}, not {similarity!r:.80}", field="min_similarity")
    return float(similarity)


def checked_limit(limit: int, *, limits: Limits) -> int:
    """Return a page size if it is an integer from 1 to `limits.batch_records`. Else raise InvalidInputError."""
    if type(limit) is not int or not 1 <= limit <= limits.batch_records:
        raise InvalidInputError(
            f"limit must be an integer from 1 to {limits.batch_records}, not {limit!r}", field="limit"
        )
    return limit


def checked_lifetime(seconds: object, *, field: str) -> float | None:
    """Return a lifetime in seconds if it is above 0 and at most 1e11, or None. Else raise InvalidInputError."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _MAX_LIFETIME_S:
        raise InvalidInputError(
            f"{field} must be more than 0 and at most {_MAX_LIFETIME_S:g} seconds, not {seconds!r:.80}", field=field
        )
    return float(seconds)
