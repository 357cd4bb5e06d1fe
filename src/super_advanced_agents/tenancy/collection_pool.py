"""The stores of collections: each in a folder of its own, opened when used, a bounded number of them at once."""

from __future__ import annotations

import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from super_advanced_agents._runtime.batcher import Workers
from super_advanced_agents._runtime.files import translated
from super_advanced_agents._runtime.flushing import fsync_folder
from super_advanced_agents._runtime.futures import Future, set_exceptions, set_results
from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents._runtime.sync_bridge import blocking
from super_advanced_agents.errors import (
    CollectionNotFoundError,
    CorruptStoreError,
    OverloadedError,
    ResourceClosedError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.opening import folder_url, open_store
from super_advanced_agents.stores.options import IndexKind, Metric, Storage
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.catalog import Catalog, Entry
from super_advanced_agents.types import CollectionInfo

_log = get_logger("server")
_ROOM_WITHIN_S = 1.0
"""How long a caller waits for one of the open collections to fall idle."""
_THREADS = 4
_MAX_CLOSING = 8
"""Collections being closed for others, beyond those that may be open."""
_MAX_WAITING = 1_024


@dataclass(eq=False, slots=True)
class _Slot:
    """One collection that is open, being opened or closed, or waited for.

    Attributes:
        busy: a thread opens or closes it.
        wait_until: when those who wait for it to be opened are refused.
    """

    entry: Entry
    store: VectorStore | None = None
    users: int = 0
    waiting: list[Future[VectorStore]] = field(default_factory=list)
    wait_until: float = 0.0
    busy: bool = False
    deleted: bool = False


class Collections(Resource):
    """Opens the stores of a catalog's collections, and closes them.

    Opening happens at first use, once for any number of callers; when `max_open` are open, the one that has not been
    used for longest is closed, but never one in use. The constructor blocks.

    Args:
        catalog: open.
        folder: where the collections' folders are.
        max_open: how many at once.
    """

    def __init__(self, catalog: Catalog, folder: Path, *, max_open: int) -> None:
        super().__init__()
        self._catalog = catalog
        self._folder = folder
        self._max_open = max_open
        self._lock = threading.Lock()
        self._slots: OrderedDict[str, _Slot] = OrderedDict()  # the one used last is at the end
        self._queue: list[_Slot] = []  # to be opened, in the order in which they were asked for
        self._queue_changed = threading.Condition(self._lock)
        self._refusing = False
        self._being_opened = self._being_closed = 0
        self._openers = Workers(name="open collections", threads=_THREADS, max_queue=_MAX_WAITING)
        self._closers = Workers(name="close collections", threads=_THREADS, max_queue=_MAX_WAITING)
        self._refuser = Workers(name="refuse collections", threads=1, max_queue=_MAX_WAITING)
        self._remove_unnamed()
        for left in catalog.leftovers():
            self._closers.submit(partial(self._remove, left))

    @property
    def open_count(self) -> int:
        """How many are open now."""
        with self._lock:
            return self._count_open()

    async def acreate(self, tenant: str, wanted: CollectionInfo, *, exist_ok: bool) -> CollectionInfo:
        """See `Catalog.acreate_collection`."""
        self._check_open()
        return await self._catalog.acreate_collection(tenant, wanted, exist_ok=exist_ok, make_folder=self._make_folder)

    create = blocking(acreate)

    async def adelete(self, tenant: str, name: str) -> bool:
        """Delete a collection; returned means that it is gone for good. Calls under way end first; then its files go.

        Returns:
            False when there was none.
        """
        self._check_open()
        entry = await self._catalog.adelete_collection(tenant, name)
        if entry is None:
            return False
        with self._lock:
            slot = self._slots.setdefault(entry.id, _Slot(entry))
            slot.deleted = True
            if not slot.users and not slot.busy:
                self._close_soon(slot)
        return True

    @asynccontextmanager
    async def using(self, tenant: str, entry: Entry) -> AsyncIterator[VectorStore]:
        """The store of a collection, which stays open inside.

        Raises:
            CollectionNotFoundError: it was deleted.
            OverloadedError: as many as may be open are all in use.
            StoreError: it cannot be opened.
        """
        slot, future = self._taken(tenant, entry)
        try:
            yield slot.store if future is None else await future  # type: ignore[misc]  # open when there is no future
        finally:
            self._let_go(slot)

    def version(self, entry: Entry, namespace: str | None) -> int | None:
        """See `VectorStore.version`; None while the collection is not open."""
        with self._lock:
            slot = self._slots.get(entry.id)
            store = None if slot is None or slot.deleted else slot.store
        try:
            return None if store is None else store.version(namespace)
        except ResourceClosedError:  # closed for another one in this very moment
            return None

    def _taken(self, tenant: str, entry: Entry) -> tuple[_Slot, Future[VectorStore] | None]:
        """Count a user in; the future is for a store that has to be opened first."""
        self._check_open()
        with self._lock:
            if self._catalog.collection(tenant, entry.info.name).id != entry.id:
                raise CollectionNotFoundError(f"the collection {entry.info.name!r} was deleted and made anew")
            slot = self._slots.setdefault(entry.id, _Slot(entry))
            self._slots.move_to_end(entry.id)
            slot.users += 1
            if slot.store is not None:
                return slot, None
            future: Future[VectorStore] = Future()
            slot.waiting.append(future)
            if len(slot.waiting) == 1:
                slot.wait_until = time.monotonic() + _ROOM_WITHIN_S
                self._queue.append(slot)
                self._advance()
        return slot, future

    def _let_go(self, slot: _Slot) -> None:
        with self._lock:
            slot.users -= 1
            if slot.users:
                return
            if slot in self._queue:  # all who waited went away
                self._queue.remove(slot)
                slot.waiting.clear()
            if slot.busy:
                return
            if slot.deleted:
                self._close_soon(slot)
            elif slot.store is None:
                self._slots.pop(slot.entry.id, None)
            self._advance()

    # -- with the lock held ---------------------------------------------------------------------------------------

    def _count_open(self) -> int:
        return sum(slot.store is not None for slot in self._slots.values())

    def _advance(self) -> None:
        """Have opened what there is room for, in order; called whenever there may be."""
        for slot in list(self._queue):
            if slot.busy:  # closed for another a moment ago; it can be opened when that is done
                continue
            if not self._made_room():
                break
            self._queue.remove(slot)
            slot.busy = True
            self._being_opened += 1
            try:
                self._openers.submit(partial(self._open, slot))
            except SuperAdvancedAgentsError as exc:
                self._opened_as(slot, None, exc)
        if self._queue and not self._refusing:
            with suppress(SuperAdvancedAgentsError):  # closed: those who wait are refused there
                self._refuser.submit(self._refuse_late)
                self._refusing = True
        self._queue_changed.notify_all()

    def _made_room(self) -> bool:
        """Whether one more may be opened, now that the one not used for longest is being closed if need be."""
        if self._count_open() + self._being_opened < self._max_open:
            return True
        idle = next((each for each in self._slots.values() if each.store is not None and not each.users), None)
        return idle is not None and self._being_closed < _MAX_CLOSING and self._close_soon(idle)

    def _close_soon(self, slot: _Slot) -> bool:
        try:
            self._closers.submit(partial(self._close, slot, slot.store))
        except SuperAdvancedAgentsError:  # closing, or thousands of deletions: the next start removes what is left
            return False
        slot.store, slot.busy = None, True
        self._being_closed += 1
        return True

    def _opened_as(self, slot: _Slot, store: VectorStore | None, error: BaseException | None) -> None:
        """Note how an opening ended, and tell those who wait for it."""
        self._being_opened -= 1
        slot.busy, slot.store = False, store
        waiting, slot.waiting = slot.waiting, []
        if error is not None:
            set_exceptions(waiting, error)
        elif store is not None:
            set_results((future, store) for future in waiting)
        if not slot.users:
            if slot.deleted:
                self._close_soon(slot)
            elif store is None:
                self._slots.pop(slot.entry.id, None)

    # -- in threads -----------------------------------------------------------------------------------------------

    def _open(self, slot: _Slot) -> None:
        store, error = None, None
        try:
            store = self._opened(slot.entry)
        except BaseException as exc:
            error = exc
        with self._lock:
            self._opened_as(slot, store, error)
            self._advance()

    def _opened(self, entry: Entry) -> VectorStore:
        folder, info = self._folder / entry.id, entry.info
        if not folder.is_dir():
            raise CorruptStoreError(f"the files of the collection {info.name!r} are missing", hint="restore a backup")
        return open_store(
            folder_url(folder),
            dim=info.dim,
            metric=cast("Metric", info.metric),
            index=cast("IndexKind", info.index),
            storage=cast("Storage", info.storage),
        )

    def _close(self, slot: _Slot, store: VectorStore | None) -> None:
        try:
            if store is not None:
                store.close()
        except Exception as exc:  # what was acknowledged is durable; its folder is free again
            _log.warning("server.collection_close_failed", extra={"folder": slot.entry.id, "reason": str(exc)})
        with self._lock:
            gone = slot.deleted and not slot.users
        if gone:  # nobody finds it in the catalog any more, so nobody comes now
            self._remove(slot.entry.id)
        with self._lock:
            slot.busy = False
            self._being_closed -= 1
            if gone or not (slot.users or slot.deleted):
                self._slots.pop(slot.entry.id, None)
            elif not slot.users:
                self._close_soon(slot)
            self._advance()

    def _refuse_late(self) -> None:
        """Refuse those who have waited long enough for room; ends when nobody waits."""
        with self._lock:
            while self._queue:
                first = min(self._queue, key=lambda slot: slot.wait_until)
                left_s = first.wait_until - time.monotonic()
                if left_s > 0 and not self.closed:
                    self._queue_changed.wait(left_s)
                    continue
                self._queue.remove(first)
                waiting, first.waiting = first.waiting, []
                error = OverloadedError(
                    f"all of the {self._max_open} collections that may be open are in use",
                    retry_after_s=_ROOM_WITHIN_S,
                    hint="try again later, or raise max_open_collections",
                )
                set_exceptions(waiting, error)
            self._refusing = False

    def _remove(self, folder: str) -> None:
        """Remove the folder of a deleted collection; whatever fails is tried again at the next start."""
        try:
            with suppress(FileNotFoundError):
                shutil.rmtree(self._folder / folder)
            self._catalog.forget_leftover(folder)
        except (OSError, SuperAdvancedAgentsError) as exc:
            _log.warning("server.collection_left", extra={"folder": folder, "reason": str(exc)})

    def _make_folder(self, name: str) -> None:
        try:
            (self._folder / name).mkdir()
            fsync_folder(self._folder)
        except OSError as exc:
            raise translated(exc, self._folder) from exc

    def _remove_unnamed(self) -> None:
        """Empty folders were made for collections that then were not written down. Nothing else is ever removed."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            known = self._catalog.known()
            for folder in self._folder.iterdir():
                if folder.name not in known:
                    with suppress(OSError):  # not empty, or not a folder: none of ours to remove
                        folder.rmdir()
        except OSError as exc:
            raise translated(exc, self._folder) from exc

    def _release(self) -> None:
        with self._lock:
            self._queue_changed.notify_all()  # refuses those who wait
        for workers in (self._refuser, self._openers, self._closers):
            workers.close()
        with self._lock:
            slots = list(self._slots.values())
            self._slots.clear()
        closed = ResourceClosedError("the collections were closed", hint="try again")
        for slot in slots:
            set_exceptions(slot.waiting, closed)
            if slot.store is not None:
                slot.store.close()
