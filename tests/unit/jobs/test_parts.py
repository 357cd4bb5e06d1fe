"""Jobs whose work is divided into parts, which all workers share."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from tests.unit.jobs.kinds import running

from super_advanced_agents.errors import InvalidInputError, JobError
from super_advanced_agents.jobs import JobContext, JobKind, Jobs, JobState, job
from super_advanced_agents.jobs.dividing import run_parts


class Parts:
    """A kind of job that adds numbers, one in each part, and can be held up or fail."""

    def __init__(self) -> None:
        self.runs: Counter[int] = Counter()
        self.whole_runs = 0
        self.failing: set[int] = set()
        self.holding: set[int] = set()
        self.held = asyncio.Event()
        self.go_on = asyncio.Event()

    @property
    def kinds(self) -> list[JobKind]:
        """The job and its parts."""

        @job()
        async def piece(context: JobContext, number: int) -> int:
            if number in self.holding:
                self.held.set()
                await context.progress(0.5, 1)
                await self.go_on.wait()
            if number in self.failing:
                raise InvalidInputError(f"{number} is wrong")
            self.runs[number] += 1
            return number * number

        @job(max_attempts=1)
        async def whole(context: JobContext, n: int) -> list[int]:
            self.whole_runs += 1
            arguments = [{"number": number} for number in range(n)]
            results = await run_parts(context, piece, arguments, [1] * n, note="adds")
            return [result for result in results if isinstance(result, int)]

        return [piece, whole]


async def test_parts_run_once_and_their_results_are_in_order(place: Path | str) -> None:
    """With one place in the queue, and one running job for the tenant: the job takes its parts itself."""
    parts = Parts()
    async with Jobs(place, parts.kinds) as jobs:
        await jobs.aopen()
        async with running(jobs, slots=1, tenant_slots=1):
            info = await jobs.asubmit("whole", {"n": 12})
            assert await jobs.aresult(info.id, timeout_s=60) == [number * number for number in range(12)]
        assert set(parts.runs.values()) == {1}
        ended = await jobs.aget(info.id)
        assert (ended.done, ended.total) == (12, 12)
        listed = await jobs.alist(kind="piece")
        assert [each.id for each in listed] == [f"{info.id}.{number:05}" for number in reversed(range(12))]


async def test_progress_of_a_job_is_the_sum_of_its_parts(place: Path | str) -> None:
    """Parts that run count with what they have done."""
    parts = Parts()
    parts.holding = {2}
    async with Jobs(place, parts.kinds) as jobs:
        await jobs.aopen()
        async with running(jobs, slots=3):
            info = await jobs.asubmit("whole", {"n": 5})
            async for each in jobs.awatch(info.id):
                if each.done == 4.5:
                    parts.go_on.set()
            assert (await jobs.aget(info.id)).result == [0, 1, 4, 9, 16]


async def test_cancelling_a_job_cancels_its_parts(place: Path | str) -> None:
    """Those that run, on any worker, and those that wait."""
    parts = Parts()
    parts.holding = set(range(20))
    async with Jobs(place, parts.kinds) as jobs:
        await jobs.aopen()
        async with running(jobs, slots=3):
            info = await jobs.asubmit("whole", {"n": 20})
            while (await jobs.backend.acount()).get(JobState.RUNNING, 0) < 3:
                pass
            await jobs.acancel(info.id)
            while set(await _states(jobs)) != {JobState.CANCELLED}:
                pass
            parts.holding = set()
            assert await jobs.aretry(info.id) == 1
            assert await jobs.aresult(info.id, timeout_s=60) == [number * number for number in range(20)]


async def test_failed_part_is_retried_alone(place: Path | str) -> None:
    """The others are done and stay so; retrying the job retries the part."""
    parts = Parts()
    parts.failing = {3, 4}
    async with Jobs(place, parts.kinds) as jobs:
        await jobs.aopen()
        async with running(jobs, slots=2):
            info = await jobs.asubmit("whole", {"n": 8})
            with pytest.raises(JobError, match=r"2 of 8 parts failed; the job .*\.00003: .*3 is wrong"):
                await jobs.aresult(info.id, timeout_s=60)
            assert sum(parts.runs.values()) == 6
            parts.failing = set()
            await jobs.aretry(f"{info.id}.00003")
            assert await jobs.aresult(f"{info.id}.00003", timeout_s=60) == 9
            await jobs.aretry(info.id)
            assert await jobs.aresult(info.id, timeout_s=60) == [number * number for number in range(8)]
        assert set(parts.runs.values()) == {1}


async def test_parts_that_all_fail_are_not_all_submitted(place: Path | str) -> None:
    """A fault of the machine fails each of them at once."""
    parts = Parts()
    parts.failing = set(range(100))
    async with Jobs(place, parts.kinds) as jobs:
        await jobs.aopen()
        async with running(jobs, slots=2):
            info = await jobs.asubmit("whole", {"n": 100})
            with pytest.raises(JobError, match="of 100 parts failed"):
                await jobs.aresult(info.id, timeout_s=60)
        assert len(await jobs.alist(kind="piece", limit=1_000)) < 20


async def test_job_goes_on_with_its_parts_after_its_worker_stopped(place: Path | str) -> None:
    """What is done is not done again, and a part of the stopped worker is given to the next one."""
    parts = Parts()
    parts.holding = {5}
    async with Jobs(place, parts.kinds) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit("whole", {"n": 9})
        async with running(jobs, slots=1):
            await parts.held.wait()
        states = Counter(await _states(jobs))
        assert states[JobState.RUNNING] == 0
        assert parts.runs[5] == 0
        parts.go_on.set()
        async with running(jobs, slots=1):
            assert await jobs.aresult(info.id, timeout_s=60) == [number * number for number in range(9)]
        assert set(parts.runs.values()) == {1}
        assert parts.whole_runs == 2


async def test_no_caller_can_submit_a_part(place: Path | str) -> None:
    """Its id is none that a caller may choose."""
    async with Jobs(place, Parts().kinds) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit("whole", {"n": 1})
        with pytest.raises(InvalidInputError):
            await jobs.asubmit("piece", {"number": 1}, job_id=f"{info.id}.00000")


async def _states(jobs: Jobs) -> list[JobState]:
    return [info.state for info in await jobs.alist(limit=1_000)]
