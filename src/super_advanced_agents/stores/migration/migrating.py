"""Moving of the records of one store to another: copy, catch up, compare and repair."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.config import LIMITS
from super_advanced_agents.errors import OverloadedError, StoreError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.migration.checksums import Checksum, digest_of
from super_advanced_agents.stores.migration.journal import Journal
from super_advanced_agents.stores.migration.records import Page, Records, chunks
from super_advanced_agents.stores.records.scope import Scope
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view
from super_advanced_agents.types import Record

_TOGETHER = 4
"""The batches that are written at a time."""
_ROUNDS = 4
"""The comparisons after which a source that is written to all the time is left as it is."""
_SOON_S = 5.0
_PAUSE_S = 1.0


@dataclass(slots=True, kw_only=True)
class Moved:
    """Count what a migration did, and hold what it found at its last comparison.

    Attributes:
        copied: the records that were written to the target.
        deleted: the records that were deleted there, since the source has them no more.
        checksums: the counts and checksums of the source's namespaces.
        differing: the namespaces that are not equal in both stores.
        seconds: the time of the copying.
    """

    copied: int = 0
    deleted: int = 0
    checksums: dict[Scope, Checksum] = field(default_factory=dict)
    differing: list[Scope] = field(default_factory=list)
    seconds: float = 0.0


class StoreMigration:
    """Move all records of one store to another, which has nothing else.

    The source may be read and written meanwhile. Writes are idempotent, so each step may be repeated.

    Args:
        source: the records of the source.
        target: the open store to write to.
        target_records: the same store, to read all tenants of.
        journal: notes how far the copying came.
        part: the name of this store in the journal.
        on_step: called with the name of the step that begins.
        on_records: called with the number of records that were copied or compared since the last call.
    """

    def __init__(
        self,
        source: Records,
        target: VectorStore,
        target_records: Records,
        *,
        journal: Journal,
        part: str,
        on_step: Callable[[str], None],
        on_records: Callable[[int], None],
    ) -> None:
        self._source = source
        self._target = target
        self._target_records = target_records
        self._journal = journal
        self._part = part
        self._on_step = on_step
        self._on_records = on_records
        self._writing = asyncio.Semaphore(_TOGETHER)
        self.moved = Moved()

    async def acopy(self) -> int:
        """Copy the records that were not copied yet; return their number.

        Cancelling keeps the copied records, and the next call goes on after them.
        """
        before, began = self.moved.copied, time.monotonic()
        pages = self._source.pages(self._journal.mark(self._part))
        async with aclosing(pages), _tasks() as tasks:
            before_last = last = None  # written while the next page is read
            async for page in pages:
                if before_last is not None:
                    await before_last
                before_last, last = last, tasks.create_task(self._write(page, last))
        self.moved.seconds += time.monotonic() - began
        return self.moved.copied - before

    async def _write(self, page: Page, earlier: asyncio.Task[None] | None) -> None:
        async with _tasks() as tasks:
            for tenant, records in page.by_tenant:
                for batch in chunks(records, LIMITS.batch_records):
                    tasks.create_task(self._put(tenant, batch))
        if earlier is not None:  # marks are saved in order
            await earlier
        await in_thread(partial(self._journal.save, self._part, page.mark), name="migrate")

    async def _put(self, tenant: str, records: list[Record]) -> None:
        async with self._writing:
            while True:
                try:
                    await tenant_view(self._target, tenant).aput(records)
                    break
                except OverloadedError as exc:  # the engine limits its rate
                    await asyncio.sleep(exc.retry_after_s or _PAUSE_S)
        self.moved.copied += len(records)
        self._on_records(len(records))

    async def afinish(self) -> bool:
        """Catch up, compare both stores, and repair what differs; return whether they are equal.

        They are not when the source is written to all the time.

        Raises:
            StoreError: the target does not return records as they were written.
        """
        earlier: dict[Scope, tuple[Checksum | None, Checksum | None]] = {}
        for _ in range(_ROUNDS):
            self._on_step("copying")
            await self.acopy()
            self._on_step("comparing")
            source = await self._source.checksums(self._on_records)
            target = await self._target_records.checksums(self._on_records)
            found = {scope: (source.get(scope), target.get(scope)) for scope in sorted(source.keys() | target.keys())}
            self.moved.checksums = source
            self.moved.differing = [
                scope for scope, (there, here) in found.items() if there != here and await self._repair(scope)
            ]
            if not self.moved.differing:
                return True
            for scope in self.moved.differing:
                if earlier.get(scope) == found[scope]:  # the repair before changed nothing
                    raise StoreError(
                        f"the target does not return the records of {scope.namespace[:64]!r} as they were written",
                        hint="report this; the source is unchanged, and stays in use",
                    )
            earlier = found
        return False

    async def _repair(self, scope: Scope) -> bool:
        """Make a namespace of the target that of the source; return whether they differed."""
        view = tenant_view(self._target, scope.tenant)
        put: list[Record] = []
        gone: list[str] = []
        differed = False
        async for record, uid in _differences(self._source.scan(scope), self._target_records.scan(scope)):
            differed = True
            if record is None:
                gone.append(uid)
            else:
                put.append(record)
            if len(put) == LIMITS.batch_records:
                await self._put(scope.tenant, put)
                put = []
            if len(gone) == LIMITS.batch_records:
                self.moved.deleted += await view.adelete(gone, namespace=scope.namespace)
                gone = []
        if put:
            await self._put(scope.tenant, put)
        if gone:
            self.moved.deleted += await view.adelete(gone, namespace=scope.namespace)
        return differed


@asynccontextmanager
async def _tasks() -> AsyncGenerator[asyncio.TaskGroup, None]:
    # A task group that raises the error of a task itself: callers do not expect exception groups.
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _differences(
    source: AsyncGenerator[list[Record], None], target: AsyncGenerator[list[Record], None]
) -> AsyncGenerator[tuple[Record | None, str], None]:
    """Yield records that the target lacks or has otherwise, and None with uids only it has.

    Both are in the order of their uids. What expires in this moment is no difference.
    """
    async with aclosing(_each(source)) as ours, aclosing(_each(target)) as theirs:
        our, their = await anext(ours, None), await anext(theirs, None)
        while our is not None or their is not None:
            if their is None or (our is not None and our.uid < their.uid):
                assert our is not None
                if not _expires(our):
                    yield our, our.uid
                our = await anext(ours, None)
            elif our is None or their.uid < our.uid:
                if not _expires(their):
                    yield None, their.uid
                their = await anext(theirs, None)
            else:
                if digest_of(our) != digest_of(their):
                    yield our, our.uid
                our, their = await anext(ours, None), await anext(theirs, None)


async def _each(pages: AsyncGenerator[list[Record], None]) -> AsyncGenerator[Record, None]:
    async with aclosing(pages):
        async for page in pages:
            for record in page:
                yield record


def _expires(record: Record) -> bool:
    return record.expires_at is not None and record.expires_at < time.time() + _SOON_S
