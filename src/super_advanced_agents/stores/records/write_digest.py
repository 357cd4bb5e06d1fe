"""The digest of a write, by which an id that was used for another write is noticed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

from super_advanced_agents.stores.records.documents import Document
from super_advanced_agents.stores.records.record_fields import plain_value
from super_advanced_agents.stores.requests import (
    AddRequest,
    DeleteRequest,
    PutRequest,
    UpdateRequest,
    WriteRequest,
)
from super_advanced_agents.types import Matrix

_BYTES = 8  # long enough to notice a mistake, too short to reveal a text that is deleted later


def write_digest(request: WriteRequest[Any]) -> bytes:
    """Return 8 bytes that are equal for repetitions of a write, and differ for other writes.

    The vectors of texts that a model embedded do not count: the same text has another vector, in the last bits, when it
    is embedded among others. Nor do the uids that the store makes.
    """
    digest = blake2b(digest_size=_BYTES)
    for part in _parts(request):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def _parts(request: WriteRequest[Any]) -> Iterable[bytes]:
    yield type(request).__name__.encode()
    match request:
        case AddRequest():
            columns = request.uids, request.sources, request.sessions, request.expires_in_s, request.priorities
            yield _json(request.namespace, request.model_id, request.dedupe, *columns)
            yield from _rows(request.documents, request.vectors, embedded=request.model_id is not None)
        case PutRequest():
            for record in request.records:
                yield _json(
                    record.uid, record.namespace, record.model_id, record.source, record.session,
                    record.created_at, record.updated_at, record.expires_at, record.priority, record.place,
                )  # fmt: skip
            yield from _rows(request.documents, request.vectors, embedded=False)
        case UpdateRequest():
            embedded = request.model_id is not None and "text" in (request.changes or {})
            yield _json(
                request.uid, request.namespace, request.changes, request.model_id,
                *(_given(value) for value in (request.source, request.expires_in_s, request.priority)),
            )  # fmt: skip
            yield b"" if request.vector is None or embedded else request.vector.tobytes()
        case DeleteRequest():
            yield _json(request.uids, request.where, request.namespace)


def _rows(documents: Sequence[Document], vectors: Matrix, *, embedded: bool) -> Iterable[bytes]:
    for document, vector in zip(documents, vectors, strict=True):
        yield b"" if document.text is None else document.text.encode()
        yield document.json
        if not embedded or document.text is None:
            yield vector.tobytes()


def _json(*values: object) -> bytes:
    return json.dumps(values, sort_keys=True, default=plain_value).encode()


def _given(value: object) -> list[object]:
    return [] if value is ... else [value]
