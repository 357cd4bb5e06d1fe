"""Pacing of requests that arrive together, so that they do not stop the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque

PASS_S = 0.01
"""The computing time in one pass of the event loop after which requests wait for the next."""

_MOST_IN_A_PASS = 32


class LoopPacer:
    """Let requests begin in a pass of the event loop while it is short, and then in later ones.

    An event loop runs all that is ready before it looks at its connections again. A request computes for some
    milliseconds before it first waits for something, so eighty that are ready at once would stop the loop for as long
    as all of them take. Waiting tenants are served round robin. It belongs to one event loop.

    Args:
        pass_s: the computing time in one pass after which requests wait, in seconds.
    """

    def __init__(self, *, pass_s: float = PASS_S) -> None:
        self._pass_s = pass_s
        self._began_at: float | None = None
        self._first_at: float | None = None  # when the first request that had waited for this pass began
        self._begun = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def begin(self, tenant: str) -> None:
        """Wait until a request of a tenant may begin; return at once while the loop is quiet."""
        loop, now = asyncio.get_running_loop(), time.perf_counter()
        if self._began_at is None:
            self._began_at, self._begun = now, 0
            loop.call_soon(self._end_pass)
        if not self._waiting and now - self._began_at < self._pass_s:
            self._begun += 1
            return
        woken = loop.create_future()
        self._waiting.setdefault(tenant, deque()).append(woken)
        await woken
        if self._first_at is None:  # requests that are woken together run one after the other
            self._first_at = time.perf_counter()

    def _end_pass(self) -> None:
        # The requests of this pass have computed; the loop looks at its connections before the next ones begin.
        now = time.perf_counter()
        took_s = now - (self._first_at or self._began_at or now)
        # Where passes are long for other reasons, such as refusals, requests may compute for as long as these do.
        others_s = now - took_s - (self._began_at or now)
        fitting = int(self._begun * max(self._pass_s, others_s) / took_s) if took_s else _MOST_IN_A_PASS
        self._begun, self._first_at = 0, None
        while self._waiting and self._begun < max(1, min(_MOST_IN_A_PASS, fitting)):
            self._wake_next()
        self._began_at = now if self._waiting or self._begun else None
        if self._began_at is not None:
            asyncio.get_running_loop().call_soon(self._end_pass)  # behind the requests that begin now

    def _wake_next(self) -> None:
        tenant, requests = next(iter(self._waiting.items()))
        first = requests.popleft()
        if requests:
            self._waiting.move_to_end(tenant)
        else:
            del self._waiting[tenant]
        if not first.done():  # done when its request was cancelled
            first.set_result(None)
            self._begun += 1
