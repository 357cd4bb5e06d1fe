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
from typing import Literal, cast

from super_advanced_agents._runtime.batcher import Workers
from super_advanced_agents._runtime.flushing import fsync_folder
from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents._runtime.tickets import Ticket, fail_all, settle_all
from super_advanced_agents._runtime.twins import blocking
from super_advanced_agents.errors import (
    CollectionNotFoundError,
    CorruptStoreError,
    OverloadedError,
    ResourceClosedError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.stores import FAISSVectorStore
from super_advanced_agents.stores.faiss.folder import translated
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.catalog import Catalog, Entry
from super_advanced_agents.types import CollectionInfo

_log = get_logger("server")
_ROOM_WITHIN_S = 2.0
"""How long an opening waits for one of the open collections to fall idle."""
_MAX_WAITING = 1_024


@dataclass(eq=False, slots=True)
class _Slot:
    """One collection that is open, being opened or in use."""

    entry: Entry
    store: FAISSVectorStore | None = None
    users: int = 0
    waiting: list[Ticket[FAISSVectorStore]] = field(default_factory=list)
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
        self._slots: OrderedDict[str, _Slot] = OrderedDict()  # the one used last is at the end
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        # One thread: what is closed to make room, or to be removed, is closed before anything is opened after it.
        self._opener = Workers(name="server collections", threads=1, max_queue=_MAX_WAITING)
        self._remove_unnamed()
        for left in catalog.leftovers():
            self._opener.submit(partial(self._remove, left))

    @property
    def open_count(self) -> int:
        """How many are open now."""
        with self._lock:
            return sum(slot.store is not None for slot in self._slots.values())

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
            slot = self._slots.get(entry.id)
            if slot is not None:
                slot.deleted = True
            unused = slot is None or not slot.users
        if unused:
            self._remove_soon(entry.id)
        return True

    @asynccontextmanager
    async def using(self, tenant: str, entry: Entry) -> AsyncIterator[FAISSVectorStore]:
        """The store of a collection, which stays open inside.

        Raises:
            CollectionNotFoundError: it was deleted.
            OverloadedError: as many as may be open are all in use.
            StoreError: it cannot be opened.
        """
        slot, ticket = self._taken(tenant, entry)
        try:
            yield slot.store if ticket is None else await ticket  # type: ignore[misc]  # open when there is no ticket
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

    def _taken(self, tenant: str, entry: Entry) -> tuple[_Slot, Ticket[FAISSVectorStore] | None]:
        """Count a user in; the ticket is for a store that has to be opened first."""
        self._check_open()
        with self._lock:
            if self._catalog.collection(tenant, entry.info.name).id != entry.id:
                raise CollectionNotFoundError(f"the collection {entry.info.name!r} was deleted and made anew")
            slot = self._slots.setdefault(entry.id, _Slot(entry))
            self._slots.move_to_end(entry.id)
            slot.users += 1
            if slot.store is not None:
                return slot, None
            ticket: Ticket[FAISSVectorStore] = Ticket()
            slot.waiting.append(ticket)
            if len(slot.waiting) > 1:
                return slot, ticket
        try:
            self._opener.submit(partial(self._open, slot))
        except BaseException as exc:
            self._fail(slot, exc)
        return slot, ticket

    def _let_go(self, slot: _Slot) -> None:
        with self._lock:
            slot.users -= 1
            unused = not slot.users
            if unused and slot.store is None and not slot.waiting and not slot.deleted:
                self._slots.pop(slot.entry.id, None)
            if unused:
                self._idle.notify_all()
        if unused and slot.deleted:
            self._remove_soon(slot.entry.id)

    def _open(self, slot: _Slot) -> None:
        try:
            self._make_room()
            store = self._opened(slot.entry)
        except BaseException as exc:
            self._fail(slot, exc)
            return
        with self._lock:
            slot.store = store
            waiting, slot.waiting = slot.waiting, []
        settle_all((ticket, store) for ticket in waiting)

    def _fail(self, slot: _Slot, error: BaseException) -> None:
        with self._lock:
            waiting, slot.waiting = slot.waiting, []
            if not slot.users and not slot.deleted:
                self._slots.pop(slot.entry.id, None)
        fail_all(waiting, error)

    def _opened(self, entry: Entry) -> FAISSVectorStore:
        folder, info = self._folder / entry.id, entry.info
        if not folder.is_dir():
            raise CorruptStoreError(f"the files of the collection {info.name!r} are missing", hint="restore a backup")
        return FAISSVectorStore(
            info.dim,
            folder,
            metric=cast("Literal['cosine', 'dot']", info.metric),
            index=cast("Literal['flat', 'hnsw', 'ivf', 'auto']", info.index),
            storage=cast("Literal['fp32', 'fp16', 'sq8']", info.storage),
        )

    def _make_room(self) -> None:
        """Close what has not been used for longest, until one more may be opened."""
        deadline = time.monotonic() + _ROOM_WITHIN_S
        while True:
            with self._lock:
                stores = [slot for slot in self._slots.values() if slot.store is not None]
                if len(stores) < self._max_open:
                    return
                idle = next((slot for slot in stores if not slot.users and not slot.deleted), None)
                if idle is None:
                    left_s = deadline - time.monotonic()
                    if left_s <= 0 or self.closed:
                        raise OverloadedError(
                            f"all of the {len(stores)} collections that may be open are in use",
                            retry_after_s=_ROOM_WITHIN_S,
                            hint="try again later, or raise max_open_collections",
                        )
                    self._idle.wait(left_s)
                    continue
                store, idle.store = idle.store, None
                self._slots.pop(idle.entry.id)
            assert store is not None
            store.close()

    def _remove_soon(self, folder: str) -> None:
        try:
            self._opener.submit(partial(self._close_and_remove, folder))
        except SuperAdvancedAgentsError:  # closed, or its queue is full: the next start removes it
            _log.debug("server.collection_left", extra={"folder": folder})

    def _close_and_remove(self, folder: str) -> None:
        with self._lock:
            slot = self._slots.get(folder)
            if slot is not None and slot.users:
                return  # the last of them asks again
            self._slots.pop(folder, None)
        if slot is not None and slot.store is not None:
            slot.store.close()
        self._remove(folder)

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
        self._opener.close()
        with self._lock:
            slots = list(self._slots.values())
            self._slots.clear()
        closed = ResourceClosedError("the collections were closed", hint="try again")
        for slot in slots:
            fail_all(slot.waiting, closed)
            if slot.store is not None:
                slot.store.close()
