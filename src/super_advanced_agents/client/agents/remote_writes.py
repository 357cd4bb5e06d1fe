"""The methods of `RemoteAgent` that store, change and delete memories at the server."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import EllipsisType
from typing import TypeVar

from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents.agents.inputs import as_memories, as_turns, memory_changes, memory_metadata, turn_memory
from super_advanced_agents.agents.relocating import checked_order, checked_relocations
from super_advanced_agents.client.batching import new_write_id, remember_requests
from super_advanced_agents.config import LIMITS, checked_text
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.protocol.requests import (
    ForgetRequest,
    RelocateMemoriesRequest,
    ServedRequest,
    UpdateMemoryRequest,
)
from super_advanced_agents.stores.filters import parse
from super_advanced_agents.stores.validation import (
    checked_dedupe,
    checked_lifetime,
    checked_priority,
    checked_source,
    checked_uid,
    checked_uids,
    checked_unless_ellipsis,
)
from super_advanced_agents.types import Dedupe, JSONValue, Memory, Relocation, Turn, Where

R = TypeVar("R")

_ITEM = re.compile(r"^memories\[(\d+)\]")
_RELOCATED = 500
"""The relocations of one request: with metadata of 16 KiB each they would be 8 MiB."""


class RemoteMemoryWrites(Resource):
    """Provide the methods of `RemoteAgent` that store, change and delete memories."""

    @abstractmethod
    async def _acall(self, operation: Operation, request: ServedRequest[R]) -> R:
        """Send a request to the agent's server and return its result."""

    async def aadd_text_memory(
        self,
        text: str,
        memory_type: str = "fact",
        uid: str | None = None,
        extra: Mapping[str, JSONValue] | None = None,
        *,
        expires_in_s: float | None = None,
        source: str | None = None,
        priority: float | None = None,
        dedupe: Dedupe | None = None,
    ) -> str:
        """Store one text as a memory of the agent, embedded by the server, and return its uid.

        The arguments are those of `AsyncLLMAgent.aadd_text_memory`.
        """
        memory = Memory(
            text=text,
            memory_type=memory_type,
            uid=uid,
            extra=extra or {},
            expires_in_s=expires_in_s,
            source=source,
            priority=priority,
        )
        memory_metadata(memory)  # validates here, so that errors name the argument and not `items[0]`
        return (await self.aadd_text_memories([memory], dedupe=dedupe))[0]

    async def aadd_text_memories(
        self, items: Sequence[str | Memory | Mapping[str, JSONValue]], *, dedupe: Dedupe | None = None
    ) -> list[str]:
        """Store texts as memories of the agent and return their uids, in the order of the texts.

        The texts are sent in batches of up to 1,000 memories and about 4 MiB; the server stores each batch all or none.

        Args:
            items: the texts, or memories with their metadata.
            dedupe: with `"exact"`, a memory of the same text, type and further metadata is not stored again.
        """
        self._check_open()
        memories = as_memories(items)
        for i, memory in enumerate(memories):
            memory_metadata(memory, field=f"items[{i}]")
        uids: list[str] = []
        for request in remember_requests(memories, checked_dedupe(dedupe)):
            with _renamed_items(len(uids)):
                uids += await self._acall(ops.REMEMBER, request)
        return uids

    async def aadd_turns(
        self, turns: Sequence[Turn | Mapping[str, JSONValue]], *, session: str | None = None
    ) -> list[str]:
        """Store each turn of a conversation as a memory of the agent; return the uids, in order.

        Args:
            turns: the turns, in the order in which they were said.
            session: the name of the conversation; none when None.
        """
        if session is not None:
            checked_text(session, "session", max_bytes=LIMITS.uid_chars)
        return await self.aadd_text_memories(
            [turn_memory(turn, session, position) for position, turn in enumerate(as_turns(turns))]
        )

    async def aupdate_memory(
        self,
        uid: str,
        *,
        text: str | None = None,
        memory_type: str | None = None,
        extra: Mapping[str, JSONValue] | None = None,
        source: str | EllipsisType | None = ...,
        expires_in_s: float | EllipsisType | None = ...,
        priority: float | EllipsisType | None = ...,
    ) -> bool:
        """Change fields of one memory (a stored text); return False when no memory has this uid.

        Args:
            uid: the memory's uid.
            text: the new text; the old one stays when None.
            memory_type: the new label; the old one stays when None.
            extra: a merge patch (RFC 7396) of the further metadata.
            source: the new origin; None removes it, `...` keeps it.
            expires_in_s: the new lifetime in seconds from now; None removes it, `...` keeps it.
            priority: the new importance; None removes it, `...` keeps it.
        """
        self._check_open()
        memory_changes(text, memory_type, extra)
        request = UpdateMemoryRequest(
            uid=checked_uid(uid, field="uid", limits=LIMITS),
            text=text,
            memory_type=memory_type,
            extra=extra,
            source=checked_unless_ellipsis(source, checked_source, field="source"),
            expires_in_s=checked_unless_ellipsis(expires_in_s, checked_lifetime, field="expires_in_s"),
            priority=checked_unless_ellipsis(priority, checked_priority, field="priority"),
            write_id=new_write_id(),
        )
        return await self._acall(ops.UPDATE_MEMORY, request)

    async def arelocate_memories(self, relocations: Sequence[Relocation] = (), *, order: Sequence[str] = ()) -> int:
        """Change where memories stand, or the order of a session's turns; return the number changed.

        The server changes each 1,000 all or none. Arguments are those of `AsyncLLMAgent.arelocate_memories`.
        """
        self._check_open()
        checked_relocations(relocations)
        checked_order(order)
        changed = 0
        for start in range(0, len(relocations), _RELOCATED):
            changed += await self._arelocate(memories=relocations[start : start + _RELOCATED])
        return changed + await self._areorder(order)

    async def _areorder(self, order: Sequence[str]) -> int:
        # Sorts within windows that overlap by half, from the first turn to the last. Inserted turns stand at the end of
        # the session; each window moves them on to the next, so that the second pass finds all turns in order.
        changed, half = 0, LIMITS.batch_records // 2
        while order:
            moved = 0
            for start in range(0, max(1, len(order) - half), half):
                moved += await self._arelocate(order=order[start : start + 2 * half])
            changed += moved
            if not moved or len(order) <= 2 * half:
                break
        return changed

    async def _arelocate(self, *, memories: Sequence[Relocation] = (), order: Sequence[str] = ()) -> int:
        request = RelocateMemoriesRequest(memories=memories, order=order, write_id=new_write_id())
        return await self._acall(ops.RELOCATE_MEMORIES, request)

    async def aforget(self, uids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        """Delete memories selected by uids, a metadata filter, or both; return the number deleted.

        With both, a memory is deleted if it has one of the uids and matches the filter.
        """
        self._check_open()
        check_where(where)
        checked = None if uids is None else checked_uids(uids, limits=LIMITS)
        request = ForgetRequest(uids=checked, where=where, write_id=new_write_id())
        return await self._acall(ops.FORGET, request)

    add_text_memory = blocking(aadd_text_memory)
    add_text_memories = blocking(aadd_text_memories)
    add_turns = blocking(aadd_turns)
    update_memory = blocking(aupdate_memory)
    relocate_memories = blocking(arelocate_memories)
    forget = blocking(aforget)


@contextmanager
def _renamed_items(sent: int) -> Iterator[None]:
    # The server names an item of one request; the caller gave those of all of them.
    try:
        yield
    except InvalidInputError as exc:
        item = _ITEM.match(exc.field)
        if item is None:
            raise
        raise exc.for_field(f"items[{int(item[1]) + sent}]{exc.field[item.end() :]}") from exc


def check_where(where: Where | None) -> None:
    """Raise `FilterError` for a malformed metadata filter, before it is sent to the server."""
    if where is not None:
        parse(where)
