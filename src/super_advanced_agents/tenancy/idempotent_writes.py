"""A write that is done again under the same `Idempotency-Key`: the same uids, and what was so before the first time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

from super_advanced_agents._runtime.uids import filled_in, uids_of
from super_advanced_agents.tenancy.context import current_context
from super_advanced_agents.types import JSONValue

T = TypeVar("T", bound=JSONValue)

ATTEMPT = "attempt"
"""The note of a call (`RequestContext.notes`) that holds its `Attempt`."""


class Attempt:
    """One time of carrying out a request, perhaps not the first; in the notes of its call while it lasts.

    Args:
        seed: of the names that the request gives, the same each time.
        at: when the request first began, in seconds since 1970.
        facts: what was noted before its write, by an earlier attempt.
        keep: makes all facts outlast a crash.
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
        self._facts = facts
        self._keep = keep
        self._made = 0
        self._asked = 0

    def uids(self, n: int) -> list[str]:
        """`n` names for new records, in the order of time; the same ones each time the request is carried out."""
        made = uids_of(self._seed, self._at, self._made, n)
        self._made += n
        return made

    async def awas(self, find: Callable[[], Awaitable[T]]) -> T | None:
        """What `find` found when the request was carried out before; None the first time, when it is asked and kept.

        A request that asks for several such facts asks for them in the same order each time.
        """
        facts, name = self._facts, str(self._asked)
        self._asked += 1
        if name in facts:
            return cast("T", facts[name])
        facts[name] = await find()
        await self._keep(dict(facts))
        return None


def uids_for(given: Sequence[str | None] | None, n: int) -> Sequence[str | None] | None:
    """Names for `n` new records: those given, and for the others such as the same request will make again.

    Without an `Idempotency-Key` what is given is returned as it is, for the store to fill.
    """
    attempt = _attempt()
    if attempt is None or (given is not None and None not in given):
        return given
    return filled_in(given, n, attempt.uids)


async def was(find: Callable[[], Awaitable[T]]) -> T | None:
    """What `find` found before the write of this request, if the request is being carried out again; else None.

    Only for a request with an `Idempotency-Key` it is asked at all.
    """
    attempt = _attempt()
    return None if attempt is None else await attempt.awas(find)


def _attempt() -> Attempt | None:
    try:
        attempt = current_context().notes.get(ATTEMPT)
    except LookupError:  # nobody calls: the process itself writes
        return None
    assert attempt is None or isinstance(attempt, Attempt)
    return attempt
