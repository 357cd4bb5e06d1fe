"""Kinds of jobs for tests, and a worker that runs while a test does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from super_advanced_agents.errors import InvalidInputError, StoreError
from super_advanced_agents.jobs import JobContext, JobKind, JobLimits, Jobs, WorkerOptions, job


class Work:
    """Kinds of jobs that record what they did, and can be held up by a test."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.active: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.order: list[str] = []
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()

    @property
    def kinds(self) -> list[JobKind]:
        """The kinds of jobs."""

        @job()
        async def double(context: JobContext, number: int) -> int:
            self.runs[context.job_id] += 1
            self.order.append(context.tenant)
            return 2 * number

        @job(max_attempts=2)
        async def failing(message: str = "it failed") -> None:
            self.runs["failing"] += 1
            raise StoreError(message)

        @job()
        async def hopeless() -> None:
            self.runs["hopeless"] += 1
            raise InvalidInputError("it will never work")

        @job()
        async def secretive() -> None:
            raise ValueError("a text of a memory")

        @job(key="source")
        async def held(context: JobContext, source: str = "") -> str:
            self.active[source] += 1
            self.most[source] = max(self.most[source], self.active[source])
            try:
                self.started.set()
                await self.go_on.wait()
            finally:
                self.active[source] -= 1
            return context.uid("record", 1)

        @job(timeout_s=0.05, max_attempts=1)
        async def endless() -> None:
            await asyncio.Event().wait()

        @job()
        async def stepped(context: JobContext, steps: int) -> list[int]:
            found = []
            for number in range(steps):
                found.append(await context.step(f"step-{number}", self._step, context.job_id, number))
                await context.progress(number + 1, steps, "counts")
            return found

        return [double, failing, hopeless, secretive, held, endless, stepped]

    async def _step(self, job_id: str, number: int) -> int:
        self.runs[f"{job_id}/{number}"] += 1
        if number == 1 and not self.go_on.is_set():
            self.started.set()
            await self.go_on.wait()
        return number


@asynccontextmanager
async def running(jobs: Jobs, *, slots: int = 4, tenant_slots: int = 4, lease_s: float = 10.0) -> AsyncIterator[None]:
    """Run a worker of `jobs` inside the block; it hands running jobs back at its end."""
    stop = asyncio.Event()
    options = WorkerOptions(queues={"default": slots}, limits=JobLimits(running=tenant_slots), lease_s=lease_s)
    task = asyncio.create_task(jobs.worker(options=options).arun(stop, drain_s=0))
    try:
        yield
    finally:
        stop.set()
        await task
