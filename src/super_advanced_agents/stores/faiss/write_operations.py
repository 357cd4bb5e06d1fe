"""What callers write to a store: checked, queued for the writer thread, acknowledged when it is durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import EllipsisType
from typing import TypeVar, cast

from numpy.typing import ArrayLike

from super_advanced_agents._runtime.batcher import MicroBatcher, Workers
from super_advanced_agents._runtime.tickets import driven_by_thread
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.faiss.intake import Intake, length
from super_advanced_agents.stores.faiss.requests import Put, Removal, Write
from super_advanced_agents.stores.faiss.rows import Addition
from super_advanced_agents.stores.faiss.sealing import Sealer
from super_advanced_agents.stores.faiss.slow_filters import SlowFilters
from super_advanced_agents.stores.faiss.sweeping import Sweeper
from super_advanced_agents.types import Dedupe, Metadata, Record, Where

Checked = TypeVar("Checked")

_CHECKED_AT_ONCE = 64


class WriteOperations(VectorStore):
    """The writing operations of `FAISSVectorStore`, which has made what they use."""

    _intake: Intake
    _writer: MicroBatcher[Write, object]
    _checkers: Workers
    _slow_filters: SlowFilters
    _sealer: Sealer
    _sweeper: Sweeper

    async def aadd_batch(
        self,
        vectors: ArrayLike | Sequence[ArrayLike],
        metadatas: Sequence[Metadata | None] | None = None,
        uids: Sequence[str | None] | None = None,
        *,
        namespace: str | None = None,
        model_id: str | None = None,
        sources: Sequence[str | None] | None = None,
        sessions: Sequence[str | None] | None = None,
        expires_in_s: Sequence[float | None] | None = None,
        priorities: Sequence[float | None] | None = None,
        dedupe: Dedupe | None = None,
    ) -> list[str]:
        """See `VectorStore.aadd_batch`. Concurrent callers share one transaction and one fsync.

        The first write with `dedupe` to a namespace works out a digest of each record that is there, for which other
        writes wait: about a second for 100,000.
        """
        self._check_open()
        prepare = partial(
            self._intake.addition,
            vectors,
            metadatas=metadatas,
            uids=uids,
            namespace=namespace,
            model_id=model_id,
            sources=sources,
            sessions=sessions,
            expires_in_s=expires_in_s,
            priorities=priorities,
            dedupe=dedupe,
        )
        addition = await self._checked(prepare, length(vectors))
        if not addition.uids:
            return []
        uids = cast("list[str]", await self._writer.submit(addition))
        self._wake(expires=expires_in_s is not None)
        return uids

    async def aput(self, records: Sequence[Record]) -> int:
        """See `VectorStore.aput`."""
        self._check_open()
        put = await self._checked(partial(self._intake.put, records), length(records))
        if not put.additions:
            return 0
        stored = cast("int", await self._writer.submit(put))
        self._wake(expires=any(expires_at is not None for each in put.additions for expires_at in each.expires_at))
        return stored

    async def aupdate(
        self,
        uid: str,
        changes: Metadata | None = None,
        *,
        namespace: str | None = None,
        vector: ArrayLike | None = None,
        model_id: str | None = None,
        source: str | EllipsisType | None = ...,
        expires_in_s: float | EllipsisType | None = ...,
        priority: float | EllipsisType | None = ...,
    ) -> bool:
        """See `VectorStore.aupdate`."""
        self._check_open()
        update = self._intake.update(
            uid,
            changes,
            namespace=namespace,
            vector=vector,
            model_id=model_id,
            source=source,
            expires_in_s=expires_in_s,
            priority=priority,
        )
        updated = cast("bool", await self._writer.submit(update))
        self._wake(expires=isinstance(update.expires_at, float))
        return updated

    def _wake(self, *, expires: bool) -> None:
        """Let what goes on behind a write begin if it has something to do."""
        self._sealer.wake()
        if expires:
            self._sweeper.wake()

    async def _checked(self, prepare: Callable[[], Checked], n: int) -> Checked:
        """What `prepare` makes of n records; checking 1,000 takes 5 to 25 ms, for which an event loop must not wait."""
        return prepare() if driven_by_thread() or n <= _CHECKED_AT_ONCE else await self._checkers.submit(prepare)

    async def adelete(
        self, uids: Sequence[str] | None = None, *, where: Where | None = None, namespace: str | None = None
    ) -> int:
        """See `VectorStore.adelete`."""
        self._check_open()
        if uids is None and where is None:
            raise InvalidInputError("give uids, where, or both", field="uids", hint="where={} deletes every record")
        names = None if uids is None else self._intake.uids(uids)
        removal = Removal(self._intake.scope(namespace), names, self._intake.tree(where))
        submit = partial(self._writer.submit, removal)
        return cast("int", await self._slow_filters.submit(removal.scope, removal.tree, submit))


def write_cost(write: Write) -> int:
    """How many records a write has; it counts so much in the queue."""
    if isinstance(write, Addition):
        return max(1, len(write.uids))
    return sum(len(addition.uids) for addition in write.additions) if isinstance(write, Put) else 1
