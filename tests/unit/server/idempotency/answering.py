"""Two requests, and a write that answers with another number each time."""

from __future__ import annotations

import asyncio

from super_advanced_agents.server.idempotency.results import Reply, digest_of
from super_advanced_agents.tenancy.idempotent_writes import uids_for

ONE = digest_of(b"POST", b"/one", b"")
TWO = digest_of(b"POST", b"/two", b"")


class Handler:
    """Answer with a different number each time, and record the uids of each attempt."""

    def __init__(self, status=200, **reply):
        self.status = status
        self.reply = reply
        self.uids = []
        self.may_finish = asyncio.Event()
        self.may_finish.set()

    async def __call__(self):
        self.uids.append(uids_for(None, 2))
        await self.may_finish.wait()
        return Reply(status=self.status, body=str(len(self.uids)).encode(), **self.reply)
