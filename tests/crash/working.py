"""A worker process of the crash tests: `python -m tests.crash.working PLACE EFFECTS`, run until no job is left.

Each job has three steps, and each step writes one row with the uid that the job gives it. A line is printed for each.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import sqlite3
import sys
import threading
import time
from contextlib import closing

from super_advanced_agents.errors import EngineUnavailableError, SuperAdvancedAgentsError
from super_advanced_agents.jobs import JobContext, JobLimits, Jobs, JobState, WorkerOptions, job

_DAY_S = 86_400
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
        while True:
            try:
                await jobs.aopen()
                break
            except EngineUnavailableError:  # the database restarts
                await asyncio.sleep(0.1)
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


def jump_about() -> None:
    """Move the clock of this process by a day forth or back, five times a second, with `shifted_clock.c` preloaded."""
    shift = ctypes.c_long.in_dll(ctypes.CDLL(os.environ["LD_PRELOAD"]), "clock_shift")
    chance = random.Random(os.getpid())
    while True:
        shift.value = chance.choice((-_DAY_S, 0, _DAY_S))
        time.sleep(0.2)


if __name__ == "__main__":
    if "LD_PRELOAD" in os.environ:
        threading.Thread(target=jump_about, daemon=True).start()
    asyncio.run(work(sys.argv[1]))
