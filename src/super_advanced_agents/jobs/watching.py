"""A stream of the states of one job: the current one, and the state after each change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from super_advanced_agents.jobs.backend import JobBackend
from super_advanced_agents.jobs.erasing import aread
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.types import JobInfo

_WAIT_S = 1.0
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5


async def watched(
    backend: JobBackend, runtime: Runtime | None, tenant: str, job_id: str
) -> AsyncGenerator[JobInfo | None, None]:
    """Yield a job now and after each change, until it has ended; None once there is none.

    Changes of any tenant's jobs wake it. So it reads a brief form of the job, and its pauses grow as long as only other
    jobs change.
    """
    seen, pause_s = 0, _SHORTEST_PAUSE_S
    last: JobInfo | None = None
    while True:
        brief = await backend.aget(tenant, job_id, brief=True)
        if brief is None:
            yield None
            return
        if brief == last:
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
        else:
            whole = last is None or brief.state.final
            info = await aread(backend, runtime, tenant, job_id) if whole else brief
            yield info
            if info is None or info.state.final:
                return
            last, pause_s = brief, _SHORTEST_PAUSE_S
        began = seen
        seen = await backend.await_work(seen, _WAIT_S)
        if seen == began:
            pause_s = _SHORTEST_PAUSE_S
        else:
            await asyncio.sleep(pause_s)
