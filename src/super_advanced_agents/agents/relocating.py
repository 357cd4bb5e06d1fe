"""The operation of an agent that changes where memories stand, and embeds nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from super_advanced_agents._runtime.concurrency.gil import yield_gil
from super_advanced_agents._runtime.concurrency.sync_bridge import Overridable, blocking
from super_advanced_agents.agents.inputs import memory_changes
from super_advanced_agents.config import LIMITS, checked_text
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.records.patches import merge_patch
from super_advanced_agents.stores.validation import checked_source, checked_uid
from super_advanced_agents.types import Metadata, Record, Relocation


class MemoryRelocation(Overridable):
    """Provide the method of `LLMAgent` that changes where memories stand."""

    namespace: str
    vector_store: VectorStore

    async def _arelocate_memories(self, relocations: Sequence[Relocation] = (), *, order: Sequence[str] = ()) -> int:
        """Change where memories stand, or the order of a session's turns; return the number changed.

        Texts, vectors and the times of the last change stay. Up to 1,000 memories are changed all or none, and durably
        when the call returns. A change that another caller makes to the same memory within these milliseconds is lost.

        Args:
            relocations: the new places; unknown uids are left out.
            order: uids of turns. Those of one session share out the positions that they have there, in this order;
                turns that are not named keep theirs.
        """
        changes = await self.vector_store.acompute(partial(checked_relocations, relocations), len(relocations))
        checked_order(order)
        places = await self._places(order, changes)
        uids = [*changes, *(uid for uid in places if uid not in changes)]

        def relocated(records: Sequence[Record]) -> list[Record]:
            return [
                _relocated(record, changes.get(record.uid), places.get(record.uid))
                for record in yield_gil(records, every=16)
            ]

        changed = 0
        for batch in _batches(uids):
            records = await self.vector_store.aget(batch, namespace=self.namespace)
            moved = await self.vector_store.acompute(partial(relocated, records), len(records))
            changed += await self.vector_store.aput(moved)
        return changed

    async def _places(self, order: Sequence[str], changes: dict[str, tuple[Relocation, Metadata]]) -> dict[str, int]:
        # Returns the new positions of the turns that move.
        sessions: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for batch in _batches(order):
            for record in await self.vector_store.aget(batch, namespace=self.namespace):
                session = changes[record.uid][0].session if record.uid in changes else record.session
                if session is not None and record.place is not None:
                    sessions[session].append((record.uid, record.place))
        return {
            uid: place
            for turns in sessions.values()
            for (uid, old), place in zip(turns, sorted(place for _, place in turns), strict=True)
            if place != old
        }

    relocate_memories = blocking(_arelocate_memories)


def checked_relocations(relocations: Sequence[Relocation]) -> dict[str, tuple[Relocation, Metadata]]:
    """Check relocations; return them by their uids, each with the merge patch of its metadata.

    Raises:
        InvalidInputError: a value is wrong, or two are of one memory.
    """
    changes: dict[str, tuple[Relocation, Metadata]] = {}
    for i, relocation in enumerate(yield_gil(relocations)):
        field = f"relocations[{i}]"
        uid = checked_uid(relocation.uid, field=f"{field}.uid", limits=LIMITS)
        if uid in changes:
            raise InvalidInputError(f"{field}.uid is that of one before it", field=f"{field}.uid")
        checked_source(relocation.source, field=f"{field}.source")
        if relocation.session is not None:
            checked_text(relocation.session, f"{field}.session", max_bytes=LIMITS.uid_chars)
        time = relocation.created_at
        if time is not None and (isinstance(time, bool) or not isinstance(time, int | float) or not time >= 0):
            raise InvalidInputError(f"{field}.created_at must be seconds since the epoch", field=f"{field}.created_at")
        patch = memory_changes(None, None, relocation.extra, prefix=f"{field}.")
        changes[uid] = relocation, {**patch, "session": relocation.session}
    return changes


def checked_order(order: Sequence[str]) -> None:
    """Check that the uids of an order are valid, and different.

    Raises:
        InvalidInputError: they are not.
    """
    for i, uid in enumerate(order):
        checked_uid(uid, field=f"order[{i}]", limits=LIMITS)
    if len(set(order)) < len(order):
        raise InvalidInputError("order names a turn twice", field="order")


def _relocated(record: Record, change: tuple[Relocation, Metadata] | None, place: int | None) -> Record:
    moved = record if place is None else replace(record, place=place)
    if change is None:
        return moved
    relocation, patch = change
    metadata = merge_patch(record.metadata, patch)
    assert isinstance(metadata, dict)
    time = record.created_at if relocation.created_at is None else float(relocation.created_at)
    return replace(moved, metadata=metadata, source=relocation.source, session=relocation.session, created_at=time)


def _batches(uids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(uids), LIMITS.batch_records):
        yield uids[start : start + LIMITS.batch_records]
