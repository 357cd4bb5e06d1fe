"""Any number of records or queries as requests of a stream, each small enough to travel, and no more in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import TypeVar

from numpy.typing import ArrayLike

from super_advanced_agents._runtime.uids import new_uids
from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.conversions import json_bytes, packed
from super_advanced_agents.protocol.v1 import vector_store_pb2 as messages
from super_advanced_agents.stores.validation import checked_document, checked_matrix, checked_uid
from super_advanced_agents.types import Metadata

NewRecord = tuple[ArrayLike, Metadata | None, str | None]
"""A vector, its metadata (None for `{}`), and its uid (None for a new one)."""

T = TypeVar("T")

CHUNK_ROWS = 500
_CHUNK_BYTES = 1024 * 1024


async def each(items: Iterable[T] | AsyncIterable[T], *, field: str) -> AsyncGenerator[T, None]:
    """The items, however they come."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    elif isinstance(items, Iterable):
        for item in items:
            yield item
    else:
        raise InvalidInputError(f"{field} must be an iterable, not {type(items).__name__}", field=field)


async def additions(
    records: Iterable[NewRecord] | AsyncIterable[NewRecord], like: messages.AddRequest
) -> AsyncGenerator[messages.AddRequest, None]:
    """Requests to add all `records`, made as `like` says; every record gets its uid here."""
    dim, number = like.dim, 0
    vectors: list[bytes] = []
    metadatas: list[bytes] = []
    uids: list[str] = []
    size = 0

    def batch() -> messages.AddRequest:
        request = messages.AddRequest(vectors=b"".join(vectors), metadatas=metadatas, uids=uids)
        request.MergeFrom(like)
        named(request)
        return request

    async for record in each(records, field="records"):
        field = f"records[{number}]"
        if not isinstance(record, tuple) or len(record) != 3:
            raise InvalidInputError(f"{field} must be (vector, metadata, uid)", field=field)
        vector, metadata, uid = record
        vectors.append(packed(checked_matrix([vector], dim, field=f"{field}.vector")))
        checked_document(metadata, field=f"{field}.metadata", limits=LIMITS)
        metadatas.append(b"" if metadata is None else json_bytes(metadata, field=f"{field}.metadata"))
        uids.append("" if uid is None else checked_uid(uid, field=f"{field}.uid", limits=LIMITS))
        size += len(vectors[-1]) + len(metadatas[-1])
        number += 1
        if len(vectors) >= CHUNK_ROWS or size >= _CHUNK_BYTES:
            yield batch()
            vectors, metadatas, uids, size = [], [], [], 0
    if vectors:
        yield batch()


async def searches(
    query_vectors: Iterable[ArrayLike] | AsyncIterable[ArrayLike], like: messages.SearchRequest
) -> AsyncGenerator[messages.SearchRequest, None]:
    """Requests to search for all `query_vectors`, made as `like` says."""
    rows = max(1, min(CHUNK_ROWS, 5_000 // max(1, like.top_k)))  # answers are larger than questions
    number = 0
    vectors: list[bytes] = []

    def batch() -> messages.SearchRequest:
        request = messages.SearchRequest(query_vectors=b"".join(vectors))
        request.MergeFrom(like)
        return request

    async for vector in each(query_vectors, field="query_vectors"):
        vectors.append(packed(checked_matrix([vector], like.dim, field=f"query_vectors[{number}]")))
        number += 1
        if len(vectors) >= rows:
            yield batch()
            vectors = []
    if vectors:
        yield batch()


def named(request: messages.AddRequest) -> None:
    """Give uids to the records that have none, so that the request can be sent again and is the same write."""
    if not request.uids:
        request.uids.extend(new_uids(len(request.vectors) // (4 * request.dim)))
    elif "" in request.uids:
        made = iter(new_uids(len(request.uids)))
        request.uids[:] = [uid or next(made) for uid in request.uids]
