"""A worker process of the crash tests: `python -m tests.crash.working PLACE EFFECTS`, run until no job is left.

Each job has three steps, and each step writes one row with the uid that the job gives it. A line is printed for each.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing

from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.jobs import JobContext, JobLimits, Jobs, JobState, WorkerOptions, job

STEPS = 3
LEASE_S = 2.0


@job(max_attempts=5)
async def effects(context: JobContext, number: int, file: str) -> int:
    """Write a row in each of three steps."""

    async def write(step: int) -> str:
        uid = context.uid(step)
        await asyncio.to_thread(_write, file, uid, number, step)
        print(number, step, flush=True)
        return uid

    for step in range(STEPS):
        await context.step(f"step-{step}", write, step)
    return number


def create(file: str) -> None:
    """Create the file of effects."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE effects (uid TEXT PRIMARY KEY, number INTEGER, step INTEGER)")
        connection.commit()


def written(file: str) -> list[tuple[int, int]]:
    """Return the job's number and the step of each effect, sorted."""
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("SELECT number, step FROM effects ORDER BY number, step").fetchall()


def _write(file: str, uid: str, number: int, step: int) -> None:
    with closing(sqlite3.connect(file, timeout=60)) as connection, connection:
        connection.execute("INSERT OR IGNORE INTO effects VALUES (?, ?, ?)", (uid, number, step))


async def work(place: str) -> None:
    """Run jobs until none waits or runs."""
    async with Jobs(place, [effects]) as jobs:
        await jobs.aopen()
        stop = asyncio.Event()
        options = WorkerOptions(queues={"default": 4}, limits=JobLimits(running=64), lease_s=LEASE_S)
        task = asyncio.create_task(jobs.worker(options=options).arun(stop))
        while True:
            try:
                counted = await jobs.backend.acount()
            except SuperAdvancedAgentsError:  # the database restarts
                counted = {JobState.QUEUED: 1}
            if not counted.get(JobState.QUEUED) and not counted.get(JobState.RUNNING):
                break
            await asyncio.sleep(0.05)
        stop.set()
        await task


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
