"""Split iterables of records, query vectors or memories into requests of bounded size."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

from numpy.typing import ArrayLike

from super_advanced_agents._runtime.uids import new_uids
from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.packing import json_bytes
from super_advanced_agents.protocol.requests import RememberRequest
from super_advanced_agents.stores.records.documents import checked_document
from super_advanced_agents.stores.requests import AddRequest, Bounds, SearchRequest, WriteRequest
from super_advanced_agents.stores.validation import (
    checked_lifetime,
    checked_matrix,
    checked_priority,
    checked_source,
    checked_uid,
)
from super_advanced_agents.types import Dedupe, Matrix, Memory, Metadata, Vector

NewRecord = tuple[ArrayLike, Metadata | None, str | None]
"""A vector, its metadata (None for `{}`), and its uid (None for a new one)."""

Compute: TypeAlias = Callable[[Callable[[], AddRequest], int], Awaitable[AddRequest]]
"""A function that runs another for a number of records, such as `VectorStore.acompute`."""

T = TypeVar("T")
R = TypeVar("R")

CHUNK_ROWS = 500
_CHUNK_BYTES = 1024 * 1024
_REMEMBER_BYTES = 4 * 1024 * 1024


async def iterate(items: Iterable[T] | AsyncIterable[T], *, field: str) -> AsyncGenerator[T, None]:
    """Yield the items of a synchronous or asynchronous iterable, as an async generator.

    Raises:
        InvalidInputError: `items` is neither.
    """
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    elif isinstance(items, Iterable):
        for item in items:
            yield item
    else:
        raise InvalidInputError(f"{field} must be an iterable, not {type(items).__name__}", field=field)


async def add_requests(
    records: Iterable[NewRecord] | AsyncIterable[NewRecord], bounds: Bounds, compute: Compute, **options: Any
) -> AsyncGenerator[AddRequest, None]:
    """Split `records` into batches and yield an `AddRequest` for each; generate missing uids.

    Args:
        records: the records.
        bounds: the store's limits on a request.
        compute: runs the building of a request, in a thread when its records are many.
        options: further fields of each request.

    Raises:
        InvalidInputError: an option or a record is invalid.
    """
    make = partial(AddRequest, bounds=bounds, **options)
    make(vectors=cast("Matrix", []))  # validates the options before a record is taken
    batch: list[tuple[Vector, Metadata | None, str]] = []
    size, number = 0, 0
    async for record in iterate(records, field="records"):
        field = f"records[{number}]"
        if not isinstance(record, tuple) or len(record) != 3:
            raise InvalidInputError(f"{field} must be (vector, metadata, uid)", field=field)
        vector, metadata, uid = record
        row = checked_matrix([vector], bounds.dim, field=f"{field}.vector")[0]
        document = checked_document(metadata, field=f"{field}.metadata", limits=LIMITS)
        record_uid = new_uids(1)[0] if uid is None else checked_uid(uid, field=f"{field}.uid", limits=LIMITS)
        batch.append((row, metadata, record_uid))
        size += row.nbytes + len(document.json) + len(document.text or "")
        number += 1
        if len(batch) >= CHUNK_ROWS or size >= _CHUNK_BYTES:
            yield await compute(partial(_add_request, make, batch), len(batch))
            batch, size = [], 0
    if batch:
        yield await compute(partial(_add_request, make, batch), len(batch))


def _add_request(make: partial[AddRequest], batch: list[tuple[Vector, Metadata | None, str]]) -> AddRequest:
    vectors, metadatas, uids = zip(*batch, strict=True)
    return make(vectors=vectors, metadatas=metadatas, uids=uids, write_id=new_write_id())


def new_write_id() -> str:
    """Return a new id for a write, by which the server knows that it was carried out."""
    return new_uids(1)[0]


def repeatable(request: WriteRequest[R]) -> WriteRequest[R]:
    """Return a write request that may be sent again: it has an id.

    The caller's own id also stands for the uids that the store makes. With an id made here, they are made here too, so
    that a server that forgot the write replaces the same records.
    """
    if request.write_id is not None:
        return request
    if isinstance(request, AddRequest):
        request = cast("WriteRequest[R]", request.with_uids())
    return request.replaced(write_id=new_write_id())


async def search_requests(
    query_vectors: Iterable[ArrayLike] | AsyncIterable[ArrayLike], bounds: Bounds, **options: Any
) -> AsyncGenerator[SearchRequest, None]:
    """Split `query_vectors` into batches and yield a `SearchRequest` for each.

    Args:
        query_vectors: the queries.
        bounds: the store's limits on a request.
        options: further fields of each request.

    Raises:
        InvalidInputError: an option or a vector is invalid.
    """
    make = partial(SearchRequest, bounds=bounds, **options)
    top_k = make(query_vectors=cast("Matrix", [])).top_k
    rows = max(1, min(CHUNK_ROWS, 5_000 // top_k))  # bounds the response: a query has up to top_k matches
    number = 0
    vectors: list[Vector] = []
    async for vector in iterate(query_vectors, field="query_vectors"):
        vectors.append(checked_matrix([vector], bounds.dim, field=f"query_vectors[{number}]")[0])
        number += 1
        if len(vectors) >= rows:
            yield make(query_vectors=cast("Matrix", vectors))
            vectors = []
    if vectors:
        yield make(query_vectors=cast("Matrix", vectors))


def remember_requests(memories: Sequence[Memory], dedupe: Dedupe | None) -> Iterator[RememberRequest]:
    """Split `memories` into batches of about 4 MiB and yield a `RememberRequest` for each.

    A memory without a uid gets one here, so that a request can be repeated.

    Raises:
        InvalidInputError: a memory is invalid; raised before the first request.
    """
    uids = iter(new_uids(sum(memory.uid is None for memory in memories)))
    with_uids = [
        replace(_checked_memory(memory, f"items[{i}]"), uid=memory.uid or next(uids))
        for i, memory in enumerate(memories)
    ]
    batch: list[Memory] = []
    size_bytes = 0
    for memory in with_uids:
        memory_bytes = len(memory.text.encode()) + len(json_bytes(memory.extra, field="extra"))
        if len(batch) == LIMITS.batch_records or (batch and size_bytes + memory_bytes > _REMEMBER_BYTES):
            yield RememberRequest(memories=batch, dedupe=dedupe, write_id=new_write_id())
            batch, size_bytes = [], 0
        batch.append(memory)
        size_bytes += memory_bytes
    if batch:
        yield RememberRequest(memories=batch, dedupe=dedupe, write_id=new_write_id())


def _checked_memory(memory: Memory, field: str) -> Memory:
    if memory.uid is not None:
        checked_uid(memory.uid, field=f"{field}.uid", limits=LIMITS)
    checked_source(memory.source, field=f"{field}.source")
    checked_priority(memory.priority, field=f"{field}.priority")
    checked_lifetime(memory.expires_in_s, field=f"{field}.expires_in_s")
    json_bytes(memory.extra, field=f"{field}.extra")
    return memory
