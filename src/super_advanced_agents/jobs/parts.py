"""`JobParts`: jobs that any worker takes, and that together do the work of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import orjson

from super_advanced_agents.jobs.backend import ClaimedJob, JobBackend, NewJob
from super_advanced_agents.telemetry import tracing
from super_advanced_agents.types import JobInfo, JSONValue


class JobParts:
    """Submit parts of a running job, and take those that wait.

    Args:
        backend: stores the jobs.
        job: the job.
        run: runs a part that was taken, and reports its end.
    """

    def __init__(self, backend: JobBackend, job: ClaimedJob, run: Callable[[ClaimedJob], Awaitable[None]]) -> None:
        self._backend = backend
        self._job = job
        self._run = run

    async def asubmit(
        self, number: int, arguments: Mapping[str, JSONValue], *, kind: str, queue: str, max_attempts: int
    ) -> JobInfo | None:
        """Submit a part once, and return it as it is stored; None where the job is to end."""
        part = NewJob(
            id=part_id(self._job.id, number),
            tenant=self._job.tenant,
            scopes=self._job.scopes,
            kind=kind,
            queue=queue,
            arguments=orjson.dumps(arguments),
            max_attempts=max_attempts,
            trace=tracing.current_traceparent(),
        )
        return await self._backend.asubmit_part(self._job, part)

    async def aget(self, number: int) -> JobInfo | None:
        """Return a part, or None where it was deleted some time after its end."""
        return await self._backend.aget(self._job.tenant, part_id(self._job.id, number))

    async def aretry(self, number: int) -> None:
        """Queue a part again if it failed or was cancelled."""
        await self._backend.aretry(self._job.tenant, part_id(self._job.id, number))

    async def arun_one(self) -> bool:
        """Run a part that waits here, beyond the limits of queues; return False where none waits."""
        part = await self._backend.aclaim_part(self._job)
        if part is not None:
            await self._run(part)
        return part is not None


def part_id(job_id: str, number: int) -> str:
    """Return the id of a part of a job; no caller can choose such an id."""
    return f"{job_id}.{number:05}"
