"""The writer: many write requests in one transaction, and index updates after each commit."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import cast

import numpy as np
from pyroaring import BitMap

from super_advanced_agents._runtime.disk import sqlite_errors
from super_advanced_agents.errors import DimensionMismatchError, InvalidInputError, ModelMismatchError, StoreError
from super_advanced_agents.stores.faiss.maintenance.expiry import ExpiredRows, SweepStep
from super_advanced_agents.stores.faiss.metadata.columns import array_of
from super_advanced_agents.stores.faiss.rows.batch import Change, RowBatch
from super_advanced_agents.stores.faiss.rows.write_ids import WriteResult
from super_advanced_agents.stores.faiss.state import State
from super_advanced_agents.stores.faiss.writing.requests import (
    ExpirySweep,
    IdentifiedWrite,
    MaintenanceWrite,
    RowBatches,
    ViewUpdate,
    Write,
    plain,
)
from super_advanced_agents.stores.faiss.writing.update import Update
from super_advanced_agents.stores.records.scope import Scope
from super_advanced_agents.stores.requests import DeleteRequest
from super_advanced_agents.telemetry import counter, get_logger, histogram, timed
from super_advanced_agents.types import Matrix

_log = get_logger("store")
_COMMITS = histogram("store_commit_seconds")
_EXPIRED = counter("store_records_expired")
_UNGROUPED_KINDS = {"view", "sweep", "maintenance"}
"""Writes of these kinds are executed one by one, outside of shared transactions."""


@dataclass(slots=True)
class _Effects:
    """Collect the index updates and counts of one transaction, applied after its commit."""

    change: Change = field(default_factory=Change)
    vectors: list[Matrix] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    shrunken_scopes: set[int] = field(default_factory=set)
    """The scopes in which rows were deleted without a replacement."""

    def add_batch(self, batch: RowBatch, stored: Sequence[int], *, is_update: bool = False) -> int:
        # `stored` holds the positions of the stored records in the batch; returns their number.
        self.vectors.append(batch.scaled if len(stored) == len(batch.uids) else batch.scaled[stored])
        if is_update:
            self.counts["updated"] += 1
        else:
            self.counts["added"] += len(stored)
            self.counts["replaced"] += sum(
                old is not None for old in self.change.replaces[len(self.change.replaces) - len(stored) :]
            )
        return len(stored)


class Writer:
    """Execute writes and update the indexes. Only the writer thread calls its methods.

    Methods raise errors of the package only.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._state.counters.update(dict.fromkeys(("replaced", "updated", "deduplicated", "swept"), 0))
        self._expired = ExpiredRows(state.rows, state.index)
        self._failure: tuple[str, str] | None = None

    def write(self, writes: list[Write]) -> list[object]:
        """Execute many writes in order; consecutive writes share a transaction where possible.

        Returns:
            For each write its result (the uids, or the number of records stored or deleted) or its error.
        """
        results: list[object] = []
        for kind, numbered in groupby(enumerate(writes), key=_transaction_key):
            group = [write for _, write in numbered]
            outcomes: list[object] = []
            try:
                with self._state.ready():
                    errors = [_dimension_error(write, self._state.index.view.dim) for write in group]
                    if kind[0] in _UNGROUPED_KINDS:
                        outcomes = [self._execute_alone(write) for write in group]
                    elif all(errors):
                        outcomes = [*errors]
                    else:
                        # Before the transaction: it takes the filters' lock, whose holder may be waiting for the rows.
                        filtered = self._filter_rows(group[0])
                        with self._commit() as effects:
                            for write, error in zip(group, errors, strict=True):
                                try:
                                    outcomes.append(error or self._apply(write, filtered, effects))
                                except (InvalidInputError, ModelMismatchError) as exc:
                                    outcomes.append(exc)  # raised before the write changed anything
            except Exception as exc:
                outcomes = [exc] * len(group)
            results.extend(outcomes)
        return results

    def _apply(self, write: Write, filtered: BitMap | None, effects: _Effects) -> object:
        rows = self._state.rows
        match write:
            case IdentifiedWrite():
                return self._apply_once(write, filtered, effects)
            case RowBatch():
                rows.check_model(write)
                unique, uids = (write, write.uids) if write.digests is None else rows.without_duplicates(write)
                if unique.uids:
                    effects.add_batch(unique, rows.add(unique, effects.change))
                effects.counts["deduplicated"] += len(write.uids) - len(unique.uids)
                return uids
            case RowBatches():
                for batch in write.batches:
                    rows.check_model(batch)
                stored_count = 0
                for batch in write.batches:
                    stored_count += effects.add_batch(batch, rows.add(batch, effects.change))
                return stored_count
            case Update():
                record = rows.record(write.uid, write.scope, rows.clock.now())
                if record is None:
                    return False
                batch = write.applied_to(record)
                rows.check_model(batch)
                effects.add_batch(batch, rows.add(batch, effects.change), is_update=True)
                return True
            case DeleteRequest():
                return self._delete(write, filtered, effects)
            case _:
                raise AssertionError(write)

    def _apply_once(self, write: IdentifiedWrite, filtered: BitMap | None, effects: _Effects) -> object:
        write_ids = self._state.rows.write_ids
        result = write_ids.find(write.tenant, write.write_id, write.digest, write.uids)
        if result is None:
            result = cast("WriteResult", self._apply(write.write, filtered, effects))
            write_ids.store(write.tenant, write.write_id, write.digest, write.uids, result)
        return result

    def _delete(self, request: DeleteRequest, filtered: BitMap | None, effects: _Effects) -> int:
        scope = _scope(request)
        if request.uids is None:
            assert filtered is not None
            seqs = filtered
        else:
            seqs = BitMap(self._state.rows.find_seqs(request.uids, scope))
            seqs = seqs if filtered is None else seqs & filtered
        self._state.rows.remove(array_of(seqs).tolist(), effects.change)
        if seqs:
            number = self._state.scope_id(scope)
            effects.shrunken_scopes.update(self._state.index.scopes_of(seqs) if number is None else (number,))
        deleted = len(seqs) - seqs.intersection_cardinality(self._state.index.expired(self._state.rows.clock.now()))
        effects.counts["deleted"] += deleted
        return deleted

    def _filter_rows(self, write: Write) -> BitMap | None:
        write = plain(write)
        if not isinstance(write, DeleteRequest) or write.tree is None:
            return None
        return self._state.index.candidates(
            self._state.index.view, self._state.scope_id(_scope(write)), write.tree, -np.inf
        )

    # -- writes that have a transaction of their own, or none -------------------------------------------------------

    def _execute_alone(self, write: Write) -> object:
        if isinstance(write, ViewUpdate):
            write.execute()
            return None
        self._check_writable()
        if isinstance(write, ExpirySweep):
            return self._sweep()
        assert isinstance(write, MaintenanceWrite)
        with self._transaction(partial(self._after_maintenance, write)):
            return write.execute()

    def _after_maintenance(self, write: MaintenanceWrite) -> None:
        if write.after_commit is not None:
            write.after_commit()
            self._state.index.versions.advance_all()

    def _sweep(self) -> SweepStep:
        step = self._expired.next_step()
        if step.rows or step.checked_at is not None or step.seen is not None:
            with self._commit() as effects:
                self._expired.delete(step, effects.change)
                effects.shrunken_scopes.update(self._state.index.scopes_of(step.rows))
                effects.counts["swept"] += len(step.rows)
            _EXPIRED.add(len(step.rows))
            self._expired.mark_committed(step)
        return step

    # -- transactions -----------------------------------------------------------------------------------------------

    @contextmanager
    def _commit(self) -> Iterator[_Effects]:
        self._check_writable()
        effects = _Effects()
        with self._transaction(partial(self._update_index, effects)):
            yield effects
        self._state.counters["commits"] += 1
        for name, n in effects.counts.items():
            self._state.counters[name] += n

    @contextmanager
    def _transaction(self, after_commit: Callable[[], None]) -> Iterator[None]:
        # Commit and index update happen under one lock, so a reader that holds it never sees one without the other.
        with self._state.commit_lock:
            try:
                with timed("commit", _COMMITS), self._state.rows.transaction():
                    yield
            except sqlite3.Error as exc:
                self._stop_writing_if_lost(exc)
                raise
            try:
                after_commit()
            except BaseException as exc:
                # The rows are committed but the view lacks them, so later reads could be wrong.
                self._failure = ("the index could not follow a write", "open the store again")
                raise StoreError("the index could not follow a write", hint="open the store again") from exc

    def _update_index(self, effects: _Effects) -> None:
        index, change = self._state.index, effects.change
        index.apply(change, effects.vectors)
        # Turns with explicit places may have been written in any order.
        if change.explicit_places and index.session_neighbours.reorder(change.explicit_places, self._state.rows.places):
            index.apply(Change(), [])  # a new view, so that the keyword index updates its neighbours
        # After the view, so that results are never older than the version read before the search. Before the write
        # returns, so that its caller gets no cached result from before it.
        index.versions.advance(effects.shrunken_scopes | set(change.scopes))

    def _check_writable(self) -> None:
        if self._failure is not None:
            message, hint = self._failure
            raise StoreError(message, hint=hint)  # a new error each time, so that callers do not share a traceback

    def _stop_writing_if_lost(self, exc: sqlite3.Error) -> None:
        if sqlite_errors.is_io_failure(exc):
            self._failure = (
                "the disk failed during a write, so this store accepts no more",
                "check the disk, then open the store again",
            )
            _log.error("store.write_failure", extra={"sqlite_error": getattr(exc, "sqlite_errorname", "")})


def _scope(request: DeleteRequest) -> Scope | None:
    return Scope.of_reading(request.tenant, request.namespace)


def _transaction_key(numbered: tuple[int, Write]) -> tuple[str, int]:
    # Neighbouring writes of equal keys share a transaction; a key with the position is unique.
    position, write = numbered
    match plain(write):
        case ViewUpdate():
            return ("view", 0)
        case ExpirySweep():
            return ("sweep", 0)
        case MaintenanceWrite():
            return ("maintenance", position)
        case DeleteRequest(tree=None, uids=list()) | RowBatch() | RowBatches() | Update():
            return ("rows", 0)
        case _:  # a delete by filter must see the writes before it in the view
            return ("filter", position)


def _dimension_error(write: Write, dim: int) -> DimensionMismatchError | None:
    # A re-embedding may have changed the dimension since the write was validated.
    write = plain(write)
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
