"""Idempotent retries of writes: a repeated request gets the uids and results of the first.

A write to a store has a `write_id`, by which the store knows that it was carried out. Other writes that are repeated
after a crash would find their own effects, so they use the facts that their first attempt recorded about the state
before it (`earlier_result`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

from super_advanced_agents._runtime.uids import fill_missing_uids, seeded_uids
from super_advanced_agents.tenancy.context import current_context
from super_advanced_agents.types import JSONValue

T = TypeVar("T", bound=JSONValue)

ATTEMPT = "attempt"
"""The key in `RequestContext.notes` of the `Attempt` of a request with an `Idempotency-Key`."""


WRITE_IDS = "write_ids"
"""The key in `RequestContext.notes` of the `StoreWriteIds` of a request with a `write_id`."""


class StoreWriteIds:
    """Number the writes to stores that one request makes, in order.

    Args:
        request_id: the id of the request; equal in every repetition of it.
    """

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._number = 0

    def next_id(self) -> str:
        """Return the id of the request's next write to a store."""
        self._number += 1
        return f"{self._request_id}.{self._number}"


class Attempt:
    """One attempt of a request with an `Idempotency-Key`; retries get equal uids and results.

    It is in the notes of the request's context while the request runs.

    Attributes:
        write_ids: the ids of its writes to stores.

    Args:
        seed: the seed of the uids that the request creates; equal in every attempt.
        at: when the first attempt began, in seconds since 1970.
        facts: the facts that an earlier attempt recorded before its write, by their number.
        keep: makes all facts durable.
    """

    def __init__(
        self,
        seed: bytes,
        at: float,
        facts: dict[str, JSONValue],
        keep: Callable[[dict[str, JSONValue]], Awaitable[object]],
    ) -> None:
        self._seed = seed
        self._at = at
        self.write_ids = StoreWriteIds(seed.hex())
        self._facts = facts
        self._keep = keep
        self._uids_made = 0
        self._facts_requested = 0

    def uids(self, n: int) -> list[str]:
        """Return `n` time-ordered uids for new records, equal in every attempt of the request."""
        uids = seeded_uids(self._seed, self._at, self._uids_made, n)
        self._uids_made += n
        return uids

    async def aearlier_result(self, find: Callable[[], Awaitable[T]]) -> T | None:
        """Return the result of `find` in an earlier attempt, or None in the first attempt.

        The first attempt calls `find` and records its result. Results are numbered in the order of the calls, so every
        attempt must call in the same order.
        """
        facts, name = self._facts, str(self._facts_requested)
        self._facts_requested += 1
        if name in facts:
            return cast("T", facts[name])
        facts[name] = await find()
        await self._keep(dict(facts))
        return None


def uids_for(uids: Sequence[str | None] | None, n: int) -> Sequence[str | None] | None:
    """Return uids for `n` new records: the given ones, and generated ones that retries get too.

    Without an `Idempotency-Key`, `uids` is returned unchanged, and the store fills them in.
    """
    attempt = _attempt()
    if attempt is None or (uids is not None and None not in uids):
        return uids
    return fill_missing_uids(uids, n, attempt.uids)


def next_write_id() -> str | None:
    """Return the id of the request's next write to a store; None if no caller repeats it."""
    attempt = _attempt()
    if attempt is not None:
        return attempt.write_ids.next_id()
    try:
        write_ids = current_context().notes.get(WRITE_IDS)
    except LookupError:  # no request is running
        return None
    assert write_ids is None or isinstance(write_ids, StoreWriteIds)
    return None if write_ids is None else write_ids.next_id()


async def earlier_result(find: Callable[[], Awaitable[T]]) -> T | None:
    """Return the result of `find` in an earlier attempt of this request, or None in the first.

    `find` runs only in the first attempt of a request with an `Idempotency-Key`, before its write.
    """
    attempt = _attempt()
    return None if attempt is None else await attempt.aearlier_result(find)


def _attempt() -> Attempt | None:
    try:
        attempt = current_context().notes.get(ATTEMPT)
    except LookupError:  # no request is running: the process itself writes
        return None
    assert attempt is None or isinstance(attempt, Attempt)
    return attempt
