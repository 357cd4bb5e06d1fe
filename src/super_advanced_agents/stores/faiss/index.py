"""The in-memory index of a store's rows: vectors, namespaces, expiry times and metadata.

It holds the current view, the rows of each scope (one namespace of one tenant), expiry times and metadata, all derived
from the rows of the table. Only the writer thread changes it, after each commit (`apply`) and when a segment was built
(`replace`); any thread reads it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import islice

import numpy as np
from pyroaring import BitMap

from super_advanced_agents._runtime.concurrency.gil import yield_gil
from super_advanced_agents.errors import CorruptStoreError
from super_advanced_agents.stores.faiss.metadata.columns import NumberColumn, array_of, bitmap
from super_advanced_agents.stores.faiss.metadata.index import MetadataIndex, _StaleViewError
from super_advanced_agents.stores.faiss.metadata.selections import Selection
from super_advanced_agents.stores.faiss.rows.batch import Change
from super_advanced_agents.stores.faiss.rows.session_neighbours import SessionNeighbourIndex
from super_advanced_agents.stores.faiss.rows.table import RecordTable
from super_advanced_agents.stores.faiss.rows.versions import Versions
from super_advanced_agents.stores.faiss.tenant_rows import TenantRows
from super_advanced_agents.stores.faiss.vectors.arena import VectorMemory
from super_advanced_agents.stores.faiss.vectors.builder import BuiltSegment
from super_advanced_agents.stores.faiss.vectors.seal_policy import SegmentSize
from super_advanced_agents.stores.faiss.vectors.segment import RowNumbers, Segment
from super_advanced_agents.stores.faiss.vectors.tail import Tail
from super_advanced_agents.stores.faiss.vectors.view import View
from super_advanced_agents.stores.filters import Filter
from super_advanced_agents.stores.validation import unit_rows
from super_advanced_agents.types import Matrix

_LOAD_ROWS = 2_000
_SPARE_ROWS = 1_024
"""Deleted rows are dropped once they outnumber the live ones by more than this."""


class Index:
    """Hold the searchable state of all rows; select rows by namespace, filter and expiry.

    A scope is one namespace of one tenant. A view is an immutable state of the segments and the live rows.

    Args:
        rows: the table of records.
        memory: allocates the vectors' memory.
        unit: True to scale vectors to length 1.
        buffer_rows: the number of vectors in a buffer of the tail.
        seals: True when full buffers are sealed into segments.

    Attributes:
        session_neighbours: the neighbours of rows in their sessions.
        versions: the versions of the scopes.
        view: the segments and live rows that searches see; replaced as a whole.
    """

    def __init__(self, rows: RecordTable, memory: VectorMemory, *, unit: bool, buffer_rows: int, seals: bool) -> None:
        self._rows = rows
        self._memory = memory
        self._unit = unit
        self._sealed: list[Segment] = []
        self._buffer_rows = buffer_rows
        self._seals = seals
        self._tail = Tail(memory, buffer_rows)
        self._scopes: dict[int, BitMap] = {}  # may contain deleted rows; only those that are live in the view count
        self._tenants: dict[str, TenantRows] = {}
        self._tracked_count = 0  # rows in `_scopes`, deleted ones included
        self._epoch = 0
        self.session_neighbours = SessionNeighbourIndex()
        self.versions = Versions(rows.clock)
        self.view = View((), BitMap(), 0, memory.dim, partial(self._read_vectors, memory.dim, rows.identity))

    # -- opening --------------------------------------------------------------------------------------------------

    def load(self, sealed: Sequence[BuiltSegment] = ()) -> bool:
        """Build the in-memory index from the rows in SQLite and the segments of a snapshot on disk.

        A segment is a set of rows with one FAISS index. Rows that no segment holds are searched exactly.

        Args:
            sealed: segments of a snapshot, in row order.

        Returns:
            True; but False, with an unchanged view, if the segments do not fit the rows: they lack a live row before
            their last one, or have a row that was never written.
        """
        live = BitMap()
        self._scopes, self._tenants, self._tracked_count = {}, {}, 0
        stored_rows = self._rows.scopes_since(0)
        while stored := list(islice(stored_rows, _LOAD_ROWS)):
            self._track_many(stored)
            live.update([seq for seq, _, _ in stored])
        last_sealed = int(sealed[-1].rows[-1]) if sealed else 0
        covered = BitMap.union(BitMap(), *(bitmap(built.rows) for built in sealed))
        if last_sealed > self._rows.last_seq or not (live & BitMap(range(last_sealed + 1))).issubset(covered):
            return False
        blocks = [built for built in sealed if built.block is not None]
        self._tail = Tail(self._memory, self._buffer_rows)
        stored_vectors = self._rows.vectors_since(0 if blocks else last_sealed)
        while page := list(islice(stored_vectors, _LOAD_ROWS)):
            rows = np.array([seq for seq, _ in page], dtype=np.uint32)
            vectors = self._scaled([vector for _, vector in page], self._memory.dim)
            first_newer = int(np.searchsorted(rows, last_sealed, side="right"))
            for built in blocks:
                _fill_block(built, rows[:first_newer], vectors[:first_newer])
            self._tail.append(rows[first_newer:], vectors[first_newer:])
        for built in blocks:
            built.decode_vectors(array_of(bitmap(built.rows) - live))
        self._sealed = [built.segment() for built in sealed]
        self.session_neighbours.clear()  # an earlier load may have failed half-way
        for seq, scope, session in self._rows.session_rows():
            self.session_neighbours.append(seq, scope, session)
        self._set_view(live, live.max() if live else last_sealed)
        return True

    def rebuild(self, memory: VectorMemory) -> None:
        """Rebuild the vector index after a re-embedding replaced the vectors of all rows.

        The dimension may be another one, and rows may have been deleted. Searches use the old vectors until the new
        index is complete.
        """
        tail = Tail(memory, self._buffer_rows)
        live = BitMap()
        stored_vectors = self._rows.vectors_since(0)
        while page := list(islice(stored_vectors, _LOAD_ROWS)):
            rows = np.array([seq for seq, _ in page], dtype=np.uint32)
            tail.append(rows, self._scaled([vector for _, vector in page], memory.dim))
            live.update(rows)
        for seq in self.view.live - live:
            self.session_neighbours.remove(seq)
        self._memory, self._sealed, self._tail = memory, [], tail
        self._set_view(live, self.view.last_row)

    def _scaled(self, stored: Sequence[bytes], dim: int) -> Matrix:
        try:
            vectors = np.frombuffer(b"".join(stored), dtype=np.float32).reshape(len(stored), dim)
            return unit_rows(vectors, field="vectors") if self._unit else vectors
        except ValueError as exc:
            raise CorruptStoreError("a record's vector is damaged", hint="restore a backup") from exc

    def _read_vectors(self, dim: int, identity: str, rows: RowNumbers) -> Matrix:
        # A re-embedding gives the store another identity: then the vectors are no longer those of the view.
        vectors = self._rows.vectors(rows.tolist())
        if len(vectors) < len(rows) or identity != self._rows.identity:
            raise _StaleViewError
        return self._scaled(vectors, dim) if vectors else np.empty((0, dim), np.float32)

    # -- applying changes -----------------------------------------------------------------------------------------

    def apply(self, change: Change, vectors: Sequence[Matrix]) -> None:
        """Apply to the in-memory index the rows that a committed transaction added and removed.

        Searches that begin afterwards see the new state.

        Args:
            change: the rows that it added and removed.
            vectors: the vectors of `change.added` in order, in blocks of (n, dim), scaled as the metric requires.
        """
        start, full = 0, self._tail.full_count
        for block in vectors:
            self._tail.append(change.added[start : start + len(block)], block)
            start += len(block)
        for seq, scope, expires_at in yield_gil(zip(change.added, change.scopes, change.expires_at, strict=True)):
            self._track(seq, scope, expires_at)
        self._update_sessions(change)
        live = self.view.live.copy()
        live.update(change.added)
        live.difference_update(BitMap(change.removed))
        if not self._seals and self._tail.full_count > full:
            self._tail.compact(live)  # else records that are replaced again and again would fill the memory
        has_many_dead = self._tracked_count > 2 * len(live) + _SPARE_ROWS
        self._epoch += has_many_dead  # first, so that requests on an older view notice and try again
        self._set_view(live, max(self.view.last_row, change.added[-1] if change.added else 0))
        if has_many_dead:
            self._drop_dead(live)

    def _drop_dead(self, live: BitMap) -> None:
        tenants = list(self._tenants.values())
        expiring = BitMap.union(BitMap(), *(tenant.retain(live) for tenant in yield_gil(tenants)))
        rows = array_of(expiring)
        scope_of = np.zeros(len(rows), dtype=np.uint32)
        for scope, members in yield_gil(self._scopes.items()):
            members.intersection_update(live)
            if expiring_members := members & expiring:
                scope_of[np.searchsorted(rows, array_of(expiring_members))] = scope
        times = [tenant.expiry_times(lambda expires: scope_of[np.searchsorted(rows, expires)]) for tenant in tenants]
        self.versions.replace_expiries(NumberColumn.joined(times))
        self._tracked_count = len(live)

    def _update_sessions(self, change: Change) -> None:
        for seq, scope, session, old in zip(change.added, change.scopes, change.sessions, change.replaces, strict=True):
            if session is not None and old is not None:
                self.session_neighbours.replace(old, seq, scope, session)
            elif session is not None:
                self.session_neighbours.append(seq, scope, session)
        for seq in change.removed:
            self.session_neighbours.remove(seq)  # no effect for a replaced row

    def replace(self, parts: Sequence[Segment], new: Segment | None) -> None:
        """Replace several segments by the one segment that was merged from them.

        A segment is a set of rows with one FAISS index. Does nothing when one of them is no longer there, because the
        index was rebuilt meanwhile.

        Args:
            parts: the segments to replace; sealed ones, and the oldest full buffers of the tail.
            new: the segment that was built from them; None when all their rows are dead.
        """
        replaced, full = set(parts), self._tail.full
        buffers = sum(segment in replaced for segment in full)
        sealed = [segment for segment in self._sealed if segment not in replaced]
        if len(self._sealed) - len(sealed) + buffers < len(replaced):
            return
        if new is not None:
            sealed.append(new)
        self._sealed = sorted(sealed, key=lambda segment: int(segment.rows[0]))
        self._tail.drop(buffers)
        self._set_view(self.view.live, self.view.last_row)

    # -- selecting ------------------------------------------------------------------------------------------------

    def selection(self, view: View, scope: int | None, tree: Filter | None, now: float) -> Selection:
        """Return the unexpired rows of a namespace that match a filter, from a cache if possible.

        `scope` is the number of one tenant's namespace; None is the whole store. Each view (an immutable state of the
        index) has a cache of its own.
        """
        selection = view.selections.get(scope, tree, now)
        if selection is None:
            until = min((tenant.next_expiry(now) for tenant, _ in self._by_tenant(view.live, scope)), default=np.inf)
            rows = self.candidates(view, scope, tree, now)
            selection = view.selections.add(scope, tree, rows, since=now, until=until)
        return selection

    def candidates(self, view: View, scope: int | None, tree: Filter | None, now: float) -> BitMap:
        """Return the rows of a namespace that match a metadata filter and have not expired.

        Args:
            view: the immutable state of the index to select from.
            scope: the number of the scope (one namespace of one tenant); None for the whole store.
            tree: the filter; None for no filter.
            now: seconds since the epoch; rows that expire later are returned.

        Raises:
            _StaleViewError: rows of the view were deleted and dropped from the index.
        """
        parts = []
        for tenant, tenant_rows in self._by_tenant(view.live, scope):
            rows = tenant_rows - tenant.expired(now) if tenant.expires else tenant_rows
            if view.epoch != self._epoch:
                raise _StaleViewError
            parts.append(rows if tree is None else tenant.metadata.evaluate(tree, rows))
        return parts[0] if len(parts) == 1 else BitMap.union(BitMap(), *parts)

    def _by_tenant(self, live: BitMap, scope: int | None) -> list[tuple[TenantRows, BitMap]]:
        # The live rows of a namespace with their tenant; for the whole store, those of each tenant.
        if scope is not None:
            rows = self._scopes.get(scope)
            return [] if rows is None else [(self._tenants[self._rows.tenant_of(scope)], live & rows)]
        tenants = list(self._tenants.values())
        return [(tenant, live & tenant.rows if len(tenants) > 1 else live) for tenant in tenants]

    def is_slow(self, scope: int | None, tree: Filter) -> bool:
        """Return True if evaluating a metadata filter may noticeably delay other requests.

        The check itself is fast.
        """
        live = self.view.live
        return any(tenant.metadata.is_slow(tree, rows, live) for tenant, rows in self._by_tenant(live, scope))

    @contextmanager
    def keep_progress(self, scope: int | None, tree: Filter) -> Iterator[None]:
        """Enter a context inside which repeated evaluations of a filter share results.

        Each evaluation inside it looks only at rows that no earlier one has seen.
        """
        with ExitStack() as stack:
            for tenant, _ in self._by_tenant(BitMap(), scope):
                stack.enter_context(tenant.metadata.keep_progress(tree))
            yield

    def prepare(self, scope: int | None, tree: Filter) -> None:
        """Evaluate a metadata filter in advance, so that a later call of `candidates` is fast.

        Call it inside `keep_progress`, which keeps the result.
        """
        with suppress(_StaleViewError):  # the request itself evaluates the filter for the rows that are new since
            self.candidates(self.view, scope, tree, -np.inf)
        self.drop_dead_metadata(scope)

    def drop_dead_metadata(self, scope: int | None) -> None:
        """Free the memory of deleted rows' metadata, once they outnumber the others."""
        view = self.view
        for tenant, _ in self._by_tenant(view.live, scope):
            tenant.metadata.drop_dead(view.live, view.last_row)

    def has_dead_metadata(self, scope: int | None) -> bool:
        """Return True if `drop_dead_metadata` would free memory; the check is fast."""
        live = self.view.live
        return any(tenant.metadata.has_many_dead(live) for tenant, _ in self._by_tenant(live, scope))

    def expired(self, now: float) -> BitMap:
        """Return the rows whose expiry time is at or before `now`; some may be deleted already."""
        return BitMap.union(BitMap(), *(tenant.expired(now) for tenant in list(self._tenants.values())))

    @property
    def tail(self) -> Tail:
        """The newest rows, buffered until they are merged into a segment with a FAISS index."""
        return self._tail

    @property
    def full_buffers(self) -> list[Segment]:
        """The full buffers of new rows that searches see, oldest first."""
        # A write fills buffers before the view shows their rows, which would pass for deleted ones until then.
        seen = set(self.view.segments)
        return [segment for segment in self._tail.full if segment in seen]

    @property
    def sealed(self) -> list[Segment]:
        """The immutable segments that were built from full buffers of new rows, oldest first."""
        return list(self._sealed)

    def sizes(self) -> list[SegmentSize]:
        """Return the number of all rows and of undeleted rows in each segment, oldest first.

        A segment is a set of rows with one FAISS index.
        """
        live = self.view.live
        return [SegmentSize(len(segment.rows), segment.live_count(live), segment.rough) for segment in self.sealed]

    def scopes_of(self, rows: BitMap) -> list[int]:
        """Return the numbers of the namespaces with any of these rows, which may be deleted already."""
        return [scope for scope, members in self._scopes.items() if members.intersect(rows)]

    def scope_count(self) -> int:
        """Count the namespaces that have rows now, or had some since the store was opened."""
        return len(self._scopes)

    def tenants(self) -> list[str]:
        """Return the names of the tenants that have or had rows since the store was opened."""
        return list(self._tenants)

    def rows_of(self, tenant: str) -> BitMap:
        """Return the rows of a tenant that has records; deleted rows may be among them."""
        return self._tenants[tenant].rows

    def _track(self, seq: int, scope: int, expires_at: float | None) -> None:
        tenant = self._tenant_with(scope)
        self._scopes[scope].add(seq)
        tenant.add(seq, expires_at)
        self._tracked_count += 1
        if expires_at is not None:
            self.versions.add_expiry(scope, expires_at)

    def _track_many(self, rows: Sequence[tuple[int, int, float | None]]) -> None:
        # Takes a third of the time of `_track` for each row, which was a tenth of the time to open 20,000 rows.
        lasting: defaultdict[int, list[int]] = defaultdict(list)
        for seq, scope, expires_at in rows:
            if expires_at is None:
                lasting[scope].append(seq)
            else:
                self._track(seq, scope, expires_at)
        for scope, seqs in lasting.items():
            tenant = self._tenant_with(scope)
            self._scopes[scope].update(seqs)
            tenant.rows.update(seqs)
            self._tracked_count += len(seqs)

    def _tenant_with(self, scope: int) -> TenantRows:
        name = self._rows.tenant_of(scope)
        if scope not in self._scopes:
            if name not in self._tenants:
                self._tenants[name] = TenantRows(MetadataIndex(self._rows))
            self._scopes[scope] = BitMap()  # last, so that a reader who finds it also finds its tenant
        return self._tenants[name]

    def _set_view(self, live: BitMap, last_row: int) -> None:
        dim = self._memory.dim
        fetch = partial(self._read_vectors, dim, self._rows.identity)
        self.view = View((*self._sealed, *self._tail.segments()), live, last_row, dim, fetch, self._epoch)


def _fill_block(built: BuiltSegment, rows: RowNumbers, vectors: Matrix) -> None:
    assert built.block is not None
    if not len(rows) or not len(built.rows) or rows[-1] < built.rows[0] or rows[0] > built.rows[-1]:
        return
    first = int(np.searchsorted(built.rows, rows[0]))
    if np.array_equal(built.rows[first : first + len(rows)], rows):  # as most are: copied once
        built.block.vectors[first : first + len(rows)] = vectors
        return
    positions = np.minimum(np.searchsorted(built.rows, rows), len(built.rows) - 1)
    inside = built.rows[positions] == rows
    built.block.vectors[positions[inside]] = vectors[inside]
