"""The write requests that the writer thread executes, from callers and from maintenance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from super_advanced_agents.stores.faiss.rows.batch import RowBatch
from super_advanced_agents.stores.faiss.writing.update import Update
from super_advanced_agents.stores.requests import DeleteRequest


@dataclass(frozen=True, slots=True)
class RowBatches:
    """Request to insert or replace records of several namespaces in one transaction."""

    batches: list[RowBatch]


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


Write: TypeAlias = RowBatch | RowBatches | Update | DeleteRequest | ExpirySweep | MaintenanceWrite | ViewUpdate
