"""The writing side of a store: groups of writes in one transaction, and the index that follows each commit."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeVar

import numpy as np
from pyroaring import BitMap

from super_advanced_agents._runtime import sqlite
from super_advanced_agents.errors import DimensionMismatchError, InvalidInputError, ModelMismatchError, StoreError
from super_advanced_agents.stores.faiss.maintenance.expiry import ExpiredRows, Step
from super_advanced_agents.stores.faiss.metadata.columns import array_of
from super_advanced_agents.stores.faiss.rows.batch import Change, RowBatch, Scope
from super_advanced_agents.stores.faiss.state import State
from super_advanced_agents.stores.faiss.writing.requests import (
    ExpirySweep,
    MaintenanceWrite,
    RowBatches,
    ViewUpdate,
    Write,
)
from super_advanced_agents.stores.faiss.writing.update import Update
from super_advanced_agents.stores.requests import DeleteRequest
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import Matrix

_log = get_logger("store")

Result = TypeVar("Result")


@dataclass(slots=True)
class _Done:
    """What the writes of one transaction did; it counts once that is committed."""

    change: Change = field(default_factory=Change)
    vectors: list[Matrix] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    lost_of: set[int] = field(default_factory=set)
    """The scopes of which rows were deleted without others in their place."""


class Writer:
    """Used by the writer thread only. Raises errors of the tree."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._state.counters.update(dict.fromkeys(("replaced", "updated", "deduplicated", "swept"), 0))
        self._sweeping = ExpiredRows(state.rows, state.index)
        self._failure: tuple[str, str] | None = None

    def write(self, writes: list[Write]) -> list[object]:
        """Carry out many callers' writes; neighbours that can share a transaction do.

        Returns:
            For each write its result (the uids, or how many records it stored or deleted) or its error.
        """
        results: list[object] = []
        # A removal by filter must see what came before it in the view, so it begins a transaction of its own.
        for _, group in groupby(enumerate(writes), key=_transaction_key):
            together = [write for _, write in group]
            try:
                with self._state.ready():
                    results.extend(self._write_fitting(together))
            except Exception as exc:
                results.extend([exc] * len(together))
        return results

    def _write_fitting(self, writes: list[Write]) -> list[object]:
        """Leave out what was checked before the store's vectors were given another length."""
        dim = self._state.index.view.dim
        refused = [_refusal(write, dim) for write in writes]
        fitting = [write for write, error in zip(writes, refused, strict=True) if error is None]
        done = iter(self._write_together(fitting) if fitting else ())
        return [next(done) if error is None else error for error in refused]

    def _write_together(self, writes: list[Write]) -> list[object]:
        if isinstance(writes[0], ViewUpdate):
            for write in writes:
                assert isinstance(write, ViewUpdate)
                write.execute()
            return [None] * len(writes)
        self._check_writable()
        if isinstance(writes[0], ExpirySweep):
            return [self._sweep() for _ in writes]
        if isinstance(writes[0], MaintenanceWrite):
            return [self._in_step(writes[0].execute, self._followed_by_all(writes[0].follow))]
        # Outside the transaction: it takes the lock of the filters, whose holder may wait for the rows.
        filtered = [self._filtered(write) for write in writes]
        return self._commit(
            lambda done: [self._outcome(write, chosen, done) for write, chosen in zip(writes, filtered, strict=True)]
        )

    def _commit(self, execute: Callable[[_Done], Result]) -> Result:
        """Do something in one transaction, and let the index follow what it did."""
        done = _Done()

        def follow() -> None:
            self._state.index.apply(done.change, done.vectors)
            self._arrange(done.change)
            # Not before: what a search finds must be as new as the version it was told. Not later: who is told of a
            # write must not be shown what was found before it.
            self._state.index.versions.move(done.lost_of | set(done.change.scopes))

        results = self._in_step(lambda: execute(done), follow)
        self._state.counters["commits"] += 1
        for name, n in done.counted.items():
            self._state.counters[name] += n
        return results

    def _in_step(self, execute: Callable[[], Result], follow: Callable[[], None] | None) -> Result:
        """Commit one transaction, then let what is in memory follow; nobody looks at one without the other."""
        with self._state.moving:
            try:
                with self._state.rows.transaction():
                    results = execute()
            except sqlite3.Error as exc:
                self._stop_writing_if_lost(exc)
                raise
            try:
                if follow is not None:
                    follow()
            except BaseException as exc:
                # The rows are committed but the view lacks them: what is read from now on could be wrong.
                self._failure = ("the index could not follow a write", "open the store again")
                raise StoreError("the index could not follow a write", hint="open the store again") from exc
        return results

    def _followed_by_all(self, follow: Callable[[], None] | None) -> Callable[[], None] | None:
        """The same, after which no version is what it was; what nothing follows shows nowhere."""
        if follow is None:
            return None

        def followed() -> None:
            follow()
            self._state.index.versions.move_all()

        return followed

    def _outcome(self, write: Write, filtered: BitMap | None, done: _Done) -> object:
        try:
            return self._execute(write, filtered, done)
        except (InvalidInputError, ModelMismatchError) as exc:  # raised before anything of this write was done
            return exc

    def _execute(self, write: Write, filtered: BitMap | None, done: _Done) -> object:
        """Do one write inside the transaction; returns its result."""
        match write:
            case RowBatch(digests=None):
                self._state.rows.check_model(write)
                self._add(write, done)
                return write.uids
            case RowBatch():
                self._state.rows.check_model(write)
                stored, uids = self._state.rows.without_duplicates(write)
                if stored.uids:
                    self._add(stored, done)
                done.counted["deduplicated"] += len(write.uids) - len(stored.uids)
                return uids
            case RowBatches():
                for batch in write.batches:
                    self._state.rows.check_model(batch)
                return sum(self._add(batch, done) for batch in write.batches)
            case Update():
                return self._update(write, done)
            case DeleteRequest():
                return self._remove(write, filtered, done)
            case _:
                raise AssertionError(write)

    def _add(self, batch: RowBatch, done: _Done) -> int:
        before = len(done.change.removed)
        n = self._insert(batch, done)
        done.counted["added"] += n
        done.counted["replaced"] += len(done.change.removed) - before
        return n

    def _insert(self, batch: RowBatch, done: _Done) -> int:
        kept = self._state.rows.add(batch, done.change)
        done.vectors.append(batch.scaled if len(kept) == len(batch.uids) else batch.scaled[kept])
        return len(kept)

    def _update(self, update: Update, done: _Done) -> bool:
        record = self._state.rows.record(update.uid, update.scope, update.now)
        if record is None:
            return False
        batch = update.applied_to(record)
        self._state.rows.check_model(batch)
        self._insert(batch, done)
        done.counted["updated"] += 1
        return True

    def _sweep(self) -> Step:
        """Delete some of what has expired."""
        step = self._sweeping.next_step()

        def execute(done: _Done) -> None:
            self._sweeping.take(step, done.change)
            done.lost_of.update(self._state.index.scopes_of(step.rows))
            done.counted["swept"] += len(step.rows)

        if step.rows or step.look is not None:
            self._commit(execute)
            self._sweeping.taken(step)
        return step

    def _arrange(self, change: Change) -> None:
        """Put turns that brought their place along where they belong: they may have come in any order."""
        if change.placed and self._state.index.session_neighbours.arrange(change.placed, self._state.rows.places):
            self._state.index.apply(Change(), [])  # a new view, so that the keyword index looks again

    def _check_writable(self) -> None:
        if self._failure is not None:
            message, hint = self._failure
            raise StoreError(message, hint=hint)  # a new one: each caller's traceback is its own

    def _filtered(self, write: Write) -> BitMap | None:
        """The rows a removal's filter chooses, expired ones too; None when it has none."""
        if not isinstance(write, DeleteRequest) or write.tree is None:
            return None
        return self._state.index.candidates(
            self._state.index.view, self._state.scope_id(_scope(write)), write.tree, -np.inf
        )

    def _remove(self, request: DeleteRequest, filtered: BitMap | None, done: _Done) -> int:
        scope = _scope(request)
        if request.uids is None:
            assert filtered is not None
            seqs = filtered
        else:
            seqs = BitMap(self._state.rows.named(request.uids, scope))
            seqs = seqs if filtered is None else seqs & filtered
        self._state.rows.remove(array_of(seqs).tolist(), done.change)
        if seqs:
            number = self._state.scope_id(scope)
            done.lost_of.update(self._state.index.scopes_of(seqs) if number is None else (number,))
        deleted = len(seqs) - seqs.intersection_cardinality(self._state.index.expired(time.time()))
        done.counted["deleted"] += deleted
        return deleted

    def _stop_writing_if_lost(self, exc: sqlite3.Error) -> None:
        if sqlite.is_io_failure(exc):
            self._failure = (
                "the disk failed during a write, so this store accepts no more",
                "check the disk, then open the store again",
            )
            _log.error("store.write_failure", extra={"sqlite_error": getattr(exc, "sqlite_errorname", "")})


def _scope(request: DeleteRequest) -> Scope | None:
    return Scope.of_reading(request.tenant, request.namespace)


def _transaction_key(numbered: tuple[int, Write]) -> tuple[str, int]:
    position, write = numbered
    match write:
        case ViewUpdate():
            return ("publication", 0)
        case ExpirySweep():
            return ("sweep", 0)
        case MaintenanceWrite():
            return ("upkeep", position)
        case DeleteRequest(tree=None, uids=list()) | RowBatch() | RowBatches() | Update():
            return ("rows", 0)
        case _:
            return ("filter", position)


def _refusal(write: Write, dim: int) -> DimensionMismatchError | None:
    match write:
        case RowBatch():
            lengths = {write.vectors.shape[1]}
        case RowBatches():
            lengths = {batch.vectors.shape[1] for batch in write.batches}
        case Update() if write.vector is not None:
            lengths = {write.vector.shape[1]}
        case _:
            return None
    if lengths <= {dim}:
        return None
    return DimensionMismatchError(
        f"vectors has {min(lengths - {dim})} numbers a vector, the store holds {dim}", field="vectors"
    )
