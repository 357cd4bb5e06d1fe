"""The write requests that the writer thread executes, from callers and from maintenance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from super_advanced_agents.stores.faiss.rows.batch import RowBatch
from super_advanced_agents.stores.faiss.writing.update import Update
from super_advanced_agents.stores.records.write_digest import write_digest
from super_advanced_agents.stores.requests import AddRequest, DeleteRequest, WriteRequest


@dataclass(frozen=True, slots=True)
class RowBatches:
    """Request to insert or replace records of several namespaces in one transaction."""

    batches: list[RowBatch]


@dataclass(frozen=True, slots=True)
class IdentifiedWrite:
    """Request to carry out a write unless one of the same id was carried out before.

    Attributes:
        write: the write.
        tenant: the tenant of the request.
        write_id: the id of the request.
        digest: of the request; another request with the id has another one.
        uids: the uids of the records to add, where the caller gave all of them; else empty.
    """

    write: RowBatch | RowBatches | Update | DeleteRequest
    tenant: str
    write_id: str
    digest: bytes
    uids: Sequence[str]


@dataclass(frozen=True, slots=True)
class ExpirySweep:
    """Request to delete one batch of expired records."""


@dataclass(frozen=True, slots=True)
class MaintenanceWrite:
    """Request to change the SQLite tables for maintenance, in a transaction of its own.

    Attributes:
        execute: called inside the transaction; returns the result of the write.
        after_commit: called after the commit to update the indexes, before any reader sees the new rows; None when
            the indexes stay as they are.
    """

    execute: Callable[[], object]
    after_commit: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class ViewUpdate:
    """Request to replace the state of the index that searches see, without writing tables.

    It is executed between two transactions.
    """

    execute: Callable[[], None]


RowWrite: TypeAlias = RowBatch | RowBatches | Update | DeleteRequest
Write: TypeAlias = RowWrite | IdentifiedWrite | ExpirySweep | MaintenanceWrite | ViewUpdate


def identified(write: RowWrite, request: WriteRequest[Any]) -> RowWrite | IdentifiedWrite:
    """Return a write that is carried out once for all requests with the id of `request`.

    A request without an id is carried out each time.
    """
    if request.write_id is None:
        return write
    given = isinstance(request, AddRequest) and request.uids is not None and None not in request.uids
    uids = write.uids if given and isinstance(write, RowBatch) else ()
    return IdentifiedWrite(write, request.tenant, request.write_id, write_digest(request), uids)


def cost_of(write: Write) -> int:
    """Return how many records a write counts as in the queue of writes."""
    write = plain(write)
    if isinstance(write, RowBatch):
        return max(1, len(write.uids))
    return sum(len(batch.uids) for batch in write.batches) if isinstance(write, RowBatches) else 1


def plain(write: Write) -> Write:
    """Return the write itself, without the id of its request."""
    return write.write if isinstance(write, IdentifiedWrite) else write
