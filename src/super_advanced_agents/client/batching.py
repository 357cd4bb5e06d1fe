"""Any number of records or queries as requests of a stream, each small enough to travel, and no more in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

from numpy.typing import ArrayLike

from super_advanced_agents._runtime.uids import new_uids
from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.requests import AddRequest, Bounds, SearchRequest
from super_advanced_agents.stores.validation import checked_document, checked_matrix, checked_uid
from super_advanced_agents.types import Matrix, Metadata, Vector

NewRecord = tuple[ArrayLike, Metadata | None, str | None]
"""A vector, its metadata (None for `{}`), and its uid (None for a new one)."""

OffLoop: TypeAlias = Callable[[Callable[[], AddRequest], int], Awaitable[AddRequest]]

T = TypeVar("T")

CHUNK_ROWS = 500
_CHUNK_BYTES = 1024 * 1024


async def each(items: Iterable[T] | AsyncIterable[T], *, field: str) -> AsyncGenerator[T, None]:
    """Give the items, however they come."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    elif isinstance(items, Iterable):
        for item in items:
            yield item
    else:
        raise InvalidInputError(f"{field} must be an iterable, not {type(items).__name__}", field=field)


async def additions(
    records: Iterable[NewRecord] | AsyncIterable[NewRecord], bounds: Bounds, off_loop: OffLoop, **options: Any
) -> AsyncGenerator[AddRequest, None]:
    """Make requests to add all `records`; every record gets its uid here.

    Args:
        records: what is added.
        bounds: what the store takes.
        off_loop: does something for so many records, in a thread when they are many.
        options: further fields of each request.
    """
    make = partial(AddRequest, bounds=bounds, **options)
    make(vectors=cast("Matrix", []))  # what is wrong with the options is said before a record is taken
    batch: list[tuple[Vector, Metadata | None, str]] = []
    size, number = 0, 0
    async for record in each(records, field="records"):
        field = f"records[{number}]"
        if not isinstance(record, tuple) or len(record) != 3:
            raise InvalidInputError(f"{field} must be (vector, metadata, uid)", field=field)
        vector, metadata, uid = record
        row = checked_matrix([vector], bounds.dim, field=f"{field}.vector")[0]
        document = checked_document(metadata, field=f"{field}.metadata", limits=LIMITS)
        name = new_uids(1)[0] if uid is None else checked_uid(uid, field=f"{field}.uid", limits=LIMITS)
        batch.append((row, metadata, name))
        size += row.nbytes + len(document.json) + len(document.text or "")
        number += 1
        if len(batch) >= CHUNK_ROWS or size >= _CHUNK_BYTES:
            yield await off_loop(partial(_addition, make, batch), len(batch))
            batch, size = [], 0
    if batch:
        yield await off_loop(partial(_addition, make, batch), len(batch))


def _addition(make: partial[AddRequest], batch: list[tuple[Vector, Metadata | None, str]]) -> AddRequest:
    vectors, metadatas, uids = zip(*batch, strict=True)
    return make(vectors=vectors, metadatas=metadatas, uids=uids)


async def searches(
    query_vectors: Iterable[ArrayLike] | AsyncIterable[ArrayLike], bounds: Bounds, **options: Any
) -> AsyncGenerator[SearchRequest, None]:
    """Make requests to search for all `query_vectors`.

    Args:
        query_vectors: what is searched for.
        bounds: what the store takes.
        options: further fields of each request.
    """
    make = partial(SearchRequest, bounds=bounds, **options)
    top_k = make(query_vectors=cast("Matrix", [])).top_k
    rows = max(1, min(CHUNK_ROWS, 5_000 // top_k))  # answers are larger than questions
    number = 0
    vectors: list[Vector] = []
    async for vector in each(query_vectors, field="query_vectors"):
        vectors.append(checked_matrix([vector], bounds.dim, field=f"query_vectors[{number}]")[0])
        number += 1
        if len(vectors) >= rows:
            yield make(query_vectors=cast("Matrix", vectors))
            vectors = []
    if vectors:
        yield make(query_vectors=cast("Matrix", vectors))
