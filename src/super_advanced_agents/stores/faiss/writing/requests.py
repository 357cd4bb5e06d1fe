"""Writes in the engine's own shape: those of callers, and those of the store's own maintenance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from super_advanced_agents.stores.faiss.rows.batch import RowBatch
from super_advanced_agents.stores.faiss.writing.update import Update
from super_advanced_agents.stores.requests import DeleteRequest


@dataclass(frozen=True, slots=True)
class RowBatches:
    """Store whole records of several namespaces, all or none."""

    batches: list[RowBatch]


@dataclass(frozen=True, slots=True)
class ExpirySweep:
    """Delete some of the rows that have expired."""


@dataclass(frozen=True, slots=True)
class MaintenanceWrite:
    """Change the tables in a transaction of its own.

    Attributes:
        execute: called inside the transaction; its result is that of the write.
        follow: called after the commit, before any reader or writer sees it; None when nothing in memory changes.
    """

    execute: Callable[[], object]
    after_commit: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class ViewUpdate:
    """Change the view between two transactions; nothing is written."""

    execute: Callable[[], None]


Write: TypeAlias = RowBatch | RowBatches | Update | DeleteRequest | ExpirySweep | MaintenanceWrite | ViewUpdate
