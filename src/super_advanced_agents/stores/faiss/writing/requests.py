"""Write requests as the writer thread executes them, of callers and of maintenance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from super_advanced_agents.stores.faiss.rows.batch import RowBatch
from super_advanced_agents.stores.faiss.writing.update import Update
from super_advanced_agents.stores.requests import DeleteRequest


@dataclass(frozen=True, slots=True)
class RowBatches:
    """Insert or replace records of several namespaces in one transaction."""

    batches: list[RowBatch]


@dataclass(frozen=True, slots=True)
class ExpirySweep:
    """Delete one batch of expired rows."""


@dataclass(frozen=True, slots=True)
class MaintenanceWrite:
    """Queue a maintenance change of the SQLite tables, run in a transaction of its own.

    Attributes:
        execute: called inside the transaction; returns the result of the write.
        after_commit: called after the commit to update the indexes, before any reader sees the new rows; None when
            the indexes stay as they are.
    """

    execute: Callable[[], object]
    after_commit: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class ViewUpdate:
    """Replace the view that searches see between two transactions, without writing tables."""

    execute: Callable[[], None]


Write: TypeAlias = RowBatch | RowBatches | Update | DeleteRequest | ExpirySweep | MaintenanceWrite | ViewUpdate
