"""The memories that an interrupted write stored or left, for exact counts after Ctrl-C."""

from __future__ import annotations

from collections.abc import Sequence

from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.tenancy.importing.memories import digest_of
from super_advanced_agents.tenancy.importing.stored import StoredFiles, StoredPart
from super_advanced_agents.tenancy.importing.target import Target
from super_advanced_agents.types import Memory

_NO_UID = "no memory has this uid"


def stored_uids(target: Target, memories: Sequence[Memory]) -> set[str]:
    """Return the uids of those memories that are stored as they were given.

    It is empty where the store or the server does not answer any more.

    Args:
        target: the agent that was to store the memories.
        memories: memories with uids, given to a call that did not return.
    """
    given = {memory.uid: digest_of(memory) for memory in memories if memory.uid is not None}
    try:
        found = _stored_parts(target, list(given))
    except SuperAdvancedAgentsError:
        return set()
    return {part.uid for part in found if part.digest == given[part.uid]}


def remaining_uids(target: Target, uids: Sequence[str]) -> set[str]:
    """Return those uids that are still stored after a deletion of all of them was interrupted.

    All count as stored where the store or the server does not answer any more.
    """
    try:
        return {part.uid for part in _stored_parts(target, uids)}
    except SuperAdvancedAgentsError:
        return set(uids)


def _stored_parts(target: Target, uids: Sequence[str]) -> list[StoredPart]:
    target.forget([_NO_UID])  # waits for the write in flight
    return list(StoredFiles(target).with_uids(list(uids)))
