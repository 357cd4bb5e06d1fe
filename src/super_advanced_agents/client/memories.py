"""Any number of memories as requests that are each small enough to travel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from super_advanced_agents._runtime.uids import new_uids
from super_advanced_agents.config import LIMITS
from super_advanced_agents.protocol.conversions import dedupe_message, memory_message
from super_advanced_agents.protocol.v1 import agents_pb2 as messages
from super_advanced_agents.stores.validation import (
    checked_dedupe,
    checked_lifetime,
    checked_priority,
    checked_source,
    checked_uid,
)
from super_advanced_agents.types import Dedupe, Memory

_BYTES = 4 * 1024 * 1024


def remembering(agent: str, memories: Sequence[Memory], dedupe: Dedupe | None) -> Iterator[messages.RememberRequest]:
    """Requests to remember all `memories`, in order; each gets its uid here, so a request can be sent again.

    Raises:
        InvalidInputError: one cannot be remembered; nothing was sent.
    """
    wanted = dedupe_message(checked_dedupe(dedupe))
    made = iter(new_uids(sum(memory.uid is None for memory in memories)))
    packed = [
        memory_message(
            replace(_checked(memory, f"items[{i}]"), uid=memory.uid or next(made)),
            field=f"items[{i}]",
        )
        for i, memory in enumerate(memories)
    ]
    request, size = messages.RememberRequest(agent=agent, dedupe=wanted), 0
    for each in packed:
        if len(request.memories) == LIMITS.batch_records or (request.memories and size + each.ByteSize() > _BYTES):
            yield request
            request, size = messages.RememberRequest(agent=agent, dedupe=wanted), 0
        request.memories.append(each)
        size += each.ByteSize()
    if request.memories:
        yield request


def _checked(memory: Memory, field: str) -> Memory:
    if memory.uid is not None:
        checked_uid(memory.uid, field=f"{field}.uid", limits=LIMITS)
    checked_source(memory.source, field=f"{field}.source")
    checked_priority(memory.priority, field=f"{field}.priority")
    checked_lifetime(memory.expires_in_s, field=f"{field}.expires_in_s")
    return memory
