"""A bounded pool of open vector stores, one for each collection, opened when they are used."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from super_advanced_agents._runtime.concurrency.futures import Future, set_exceptions, set_results
from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents._runtime.queues.batcher import Workers
from super_advanced_agents._runtime.queues.shares import NO_SHARE, active_share
from super_advanced_agents.errors import (
    CollectionNotFoundError,
    OverloadedError,
    ResourceClosedError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.catalog import Catalog
from super_advanced_agents.tenancy.catalog.rows import Entry
from super_advanced_agents.tenancy.collection_places import CollectionPlace, FolderPlace
from super_advanced_agents.types import CollectionInfo

_log = get_logger("server")
_MAX_WAIT_S = 1.0
"""The time that a caller waits for an open collection to become idle."""
_THREADS = 4
_THREADS_PER_TENANT = 3
"""The number of collections of one tenant that are opened at once.

Another tenant's finds a thread free.
"""
_MAX_CLOSING = 8
"""The number of collections being closed at once.

They do not count as open, so that opening another one does not wait.
"""
_MAX_CLOSING_PER_TENANT = 6
"""The number of those that are closed to make room for one tenant."""
_RESERVED = 4
"""One open collection of this many is kept free of any single tenant's."""
_MAX_WAITING = 1_024


@dataclass(eq=False, slots=True)
class _Slot:
    entry: Entry
    tenant: str
    store: VectorStore | None = None
    users: int = 0
    waiting: list[Future[VectorStore]] = field(default_factory=list)
    wait_until: float = 0.0  # the monotonic time at which callers that wait for it to open are refused
    busy: bool = False  # a thread is opening or closing it
    closed_for: str = NO_SHARE  # the tenant that needs the room
    deleted: bool = False


class Collections(Resource):
    """Open the vector stores of collections on use, and close the least recently used ones.

    Concurrent callers share one store. When `max_open` are open, one is closed, but never one in use: the least
    recently used one of the tenant that has the most open, and never one of a tenant that has no more than the tenant
    that needs the room. A tenant has at most three quarters of them open. Tenants take turns in opening. The
    constructor blocks.

    Args:
        catalog: the open catalog.
        place: where the records of collections are, or the folder that contains the collections' folders.
        max_open: the number of stores open at once.
    """

    def __init__(self, catalog: Catalog, place: CollectionPlace | Path, *, max_open: int) -> None:
        super().__init__()
        self._catalog = catalog
        self._place: CollectionPlace = FolderPlace(place) if isinstance(place, Path) else place
        self._max_open = max_open
        self._lock = threading.Lock()
        self._slots: OrderedDict[str, _Slot] = OrderedDict()  # most recently used last
        self._queue: list[_Slot] = []  # to be opened, in order of arrival
        self._queue_changed = threading.Condition(self._lock)
        self._refusing = False
        self._being_opened: Counter[str] = Counter()  # by tenant
        self._being_closed: Counter[str] = Counter()  # by the tenant that needs the room
        self._openers = Workers(
            name="open collections", threads=_THREADS, threads_per_share=_THREADS_PER_TENANT, max_queue=max_open
        )
        self._closers = Workers(name="close collections", threads=_THREADS, max_queue=_MAX_WAITING)
        self._refuser = Workers(name="refuse collections", threads=1, max_queue=_MAX_WAITING)
        self._place.prepare(catalog.collection_ids())
        for collection_id in catalog.deleted_collections():
            self._closers.submit(partial(self._remove, collection_id))

    @property
    def open_count(self) -> int:
        """The number of collections whose stores are open now."""
        with self._lock:
            return sum(slot.store is not None for slot in self._slots.values())

    def check(self, info: CollectionInfo) -> None:
        """Raise if a collection with these settings cannot be kept.

        Raises:
            InvalidInputError: it cannot.
        """
        self._place.check(info)

    async def acreate(self, tenant: str, info: CollectionInfo, *, exist_ok: bool) -> CollectionInfo:
        """Create a collection and its folder; both are durable on return.

        Args:
            tenant: the tenant.
            info: the name and the settings of the collection, validated.
            exist_ok: return an existing collection of that name with equal settings instead of raising.

        Raises:
            CollectionExistsError: a collection of that name exists, with other settings or without `exist_ok`.
            InvalidInputError: the tenant has `max_collections` collections already, or the engine keeps none with such
                settings.
        """
        self._check_open()
        self.check(info)
        return await self._catalog.acreate_collection(tenant, info, exist_ok=exist_ok, make_place=self._place.make)

    create = blocking(acreate)

    async def adelete(self, tenant: str, name: str) -> bool:
        """Delete a collection; the deletion is durable on return.

        Its files are removed in the background, after the operations that are running on it have ended.

        Returns:
            False when there was no collection of that name.
        """
        self._check_open()
        entry = await self._catalog.adelete_collection(tenant, name)
        if entry is None:
            return False
        with self._lock:
            slot = self._slots.setdefault(entry.id, _Slot(entry, tenant))
            slot.deleted = True
            if not slot.users and not slot.busy:
                self._schedule_close(slot)
        return True

    @asynccontextmanager
    async def using(self, tenant: str, entry: Entry) -> AsyncIterator[VectorStore]:
        """Enter a context that yields a collection's open vector store, which stays open in it.

        Raises:
            CollectionNotFoundError: the collection was deleted.
            OverloadedError: `max_open` collections are open and in use, or too many files are open.
            StoreError: the store cannot be opened.
        """
        slot, future = self._acquire(tenant, entry)
        try:
            yield slot.store if future is None else await future  # type: ignore[misc]  # open when there is no future
        finally:
            self._release_slot(slot)

    def version(self, entry: Entry, namespace: str | None) -> int | None:
        """Return a number that changes with each write to a namespace, to validate cached results.

        It is None while the collection's store is closed.
        """
        with self._lock:
            slot = self._slots.get(entry.id)
            store = None if slot is None or slot.deleted else slot.store
        try:
            return None if store is None else store.version(namespace)
        except ResourceClosedError:  # closed between the lookup and the call
            return None

    def check_files(self) -> None:
        """Raise if a file of an open collection was removed, replaced, emptied or cut by others.

        Raises:
            StoreError: one was; the other collections go on.
        """
        with self._lock:
            stores = [slot.store for slot in self._slots.values() if slot.store is not None and not slot.deleted]
        for store in stores:
            store.check_files()

    def _acquire(self, tenant: str, entry: Entry) -> tuple[_Slot, Future[VectorStore] | None]:
        # Counts the caller as a user of the slot. The future is for a store that has to be opened first.
        self._check_open()
        with self._lock:
            if self._catalog.collection(tenant, entry.info.name).id != entry.id:
                raise CollectionNotFoundError(f"the collection {entry.info.name!r} was deleted and made anew")
            slot = self._slots.setdefault(entry.id, _Slot(entry, tenant))
            self._slots.move_to_end(entry.id)
            slot.users += 1
            if slot.store is not None:
                return slot, None
            future: Future[VectorStore] = Future()
            slot.waiting.append(future)
            if len(slot.waiting) == 1:
                slot.wait_until = time.monotonic() + _MAX_WAIT_S
                self._queue.append(slot)
                self._advance()
        return slot, future

    def _release_slot(self, slot: _Slot) -> None:
        with self._lock:
            slot.users -= 1
            if slot.users:
                return
            if slot in self._queue:  # every waiting caller was cancelled
                self._queue.remove(slot)
                slot.waiting.clear()
            if slot.busy:
                return
            if slot.deleted:
                self._schedule_close(slot)
            elif slot.store is None:
                self._slots.pop(slot.entry.id, None)
            self._advance()

    # -- with the lock held ---------------------------------------------------------------------------------------

    def _advance(self) -> None:
        # Opens queued collections while there is capacity, each tenant's in order. Called whenever capacity may have
        # become free.
        without_room: set[str] = set()
        for slot in list(self._queue):
            if slot.busy or slot.tenant in without_room:  # one still being closed can be opened after that
                continue
            if not self._ensure_capacity(slot.tenant):
                without_room.add(slot.tenant)
                continue
            self._queue.remove(slot)
            slot.busy = True
            self._being_opened[slot.tenant] += 1
            try:
                with active_share(slot.tenant):
                    self._openers.submit(partial(self._open, slot))
            except SuperAdvancedAgentsError as exc:
                self._finish_opening(slot, None, exc)
        if self._queue and not self._refusing:
            with suppress(SuperAdvancedAgentsError):  # the pool is closing: `_release` fails the waiting callers
                self._refuser.submit(self._refuse_expired)
                self._refusing = True
        self._queue_changed.notify_all()

    def _ensure_capacity(self, tenant: str) -> bool:
        # Returns whether one more store of the tenant may be opened; closes an idle one if necessary.
        counts = Counter(slot.tenant for slot in self._slots.values() if slot.store is not None) + self._being_opened
        if counts[tenant] >= self._max_open - self._max_open // _RESERVED:
            candidates = {tenant}
        elif counts.total() < self._max_open:
            return True
        else:
            candidates = {name for name, count in counts.items() if count > counts[tenant] or name == tenant}
        idle: dict[str, _Slot] = {}  # the least recently used one of each tenant
        for slot in self._slots.values():
            if slot.store is not None and not slot.users and slot.tenant in candidates:
                idle.setdefault(slot.tenant, slot)
        if (
            not idle
            or self._being_closed.total() >= _MAX_CLOSING
            or self._being_closed[tenant] >= _MAX_CLOSING_PER_TENANT
        ):
            return False
        return self._schedule_close(max(idle.values(), key=lambda slot: counts[slot.tenant]), needed_by=tenant)

    def _schedule_close(self, slot: _Slot, *, needed_by: str = NO_SHARE) -> bool:
        try:
            with active_share(NO_SHARE):  # no closing is displaced by another tenant's, which would leave a store open
                self._closers.submit(partial(self._close, slot, slot.store))
        except SuperAdvancedAgentsError:  # closing, or a full queue: the next start removes the deleted folders
            return False
        slot.store, slot.busy, slot.closed_for = None, True, needed_by
        self._being_closed[needed_by] += 1
        return True

    def _finish_opening(self, slot: _Slot, store: VectorStore | None, error: BaseException | None) -> None:
        self._being_opened -= Counter([slot.tenant])
        slot.busy, slot.store = False, store
        waiting, slot.waiting = slot.waiting, []
        if error is not None:
            set_exceptions(waiting, error)
        elif store is not None:
            set_results((future, store) for future in waiting)
        if not slot.users:
            if slot.deleted:
                self._schedule_close(slot)
            elif store is None:
                self._slots.pop(slot.entry.id, None)

    # -- in threads -----------------------------------------------------------------------------------------------

    def _open(self, slot: _Slot) -> None:
        store, error = None, None
        try:
            store = self._place.open(slot.entry)
        except BaseException as exc:
            error = exc
        with self._lock:
            self._finish_opening(slot, store, error)
            self._advance()

    def _close(self, slot: _Slot, store: VectorStore | None) -> None:
        try:
            if store is not None:
                store.close()
        except Exception as exc:  # acknowledged writes are durable, and the folder's lock is released
            _log.warning("server.collection_close_failed", extra={"folder": slot.entry.id, "reason": str(exc)})
        with self._lock:
            is_unused = slot.deleted and not slot.users
        if is_unused:  # no new user can come: the catalog does not contain it any more
            self._remove(slot.entry.id)
        with self._lock:
            slot.busy = False
            self._being_closed -= Counter([slot.closed_for])
            if is_unused or not (slot.users or slot.deleted):
                self._slots.pop(slot.entry.id, None)
            elif not slot.users:
                self._schedule_close(slot)
            self._advance()

    def _refuse_expired(self) -> None:
        # Refuses callers at the end of their waiting time; returns when the queue is empty.
        with self._lock:
            while self._queue:
                first = min(self._queue, key=lambda slot: slot.wait_until)
                remaining_s = first.wait_until - time.monotonic()
                if remaining_s > 0 and not self.closed:
                    self._queue_changed.wait(remaining_s)
                    continue
                self._queue.remove(first)
                waiting, first.waiting = first.waiting, []
                error = OverloadedError(
                    f"all of the {self._max_open} collections that may be open are in use",
                    retry_after_s=_MAX_WAIT_S,
                    hint="try again later, or raise max_open_collections",
                )
                set_exceptions(waiting, error)
            self._refusing = False

    def _remove(self, collection_id: str) -> None:
        # A removal that fails is retried at the next start.
        try:
            self._place.remove(collection_id)
            self._catalog.forget_deleted(collection_id)
        except (OSError, SuperAdvancedAgentsError) as exc:
            _log.warning("server.collection_left", extra={"folder": collection_id, "reason": str(exc)})

    def _release(self) -> None:
        with self._lock:
            self._queue_changed.notify_all()  # wakes `_refuse_expired`, which refuses all waiting callers
        for workers in (self._refuser, self._openers, self._closers):
            workers.close()
        with self._lock:
            slots = list(self._slots.values())
            self._slots.clear()
        closed = ResourceClosedError("the collections were closed", hint="ask the server again once it has started")
        for slot in slots:
            set_exceptions(slot.waiting, closed)
            if slot.store is not None:
                slot.store.close()
