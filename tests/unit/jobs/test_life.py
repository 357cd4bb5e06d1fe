"""The life of a job: submitted, run, repeated, given up, cancelled and retried."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from tests.unit.jobs.kinds import Work, running

from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.errors import (
    InvalidInputError,
    JobError,
    JobNotFoundError,
    OverloadedError,
    PermissionDeniedError,
    StoreLockedError,
)
from super_advanced_agents.jobs import JobContext, JobLimits, Jobs, JobState, job
from super_advanced_agents.tenancy.context import Access, Principal

OTHER = Principal(tenant="other", scopes=frozenset({Access.JOBS}), key_id="other")


async def test_job_returns_its_result_and_runs_once(place: Path | str) -> None:
    """Its arguments are those that were submitted."""
    work = Work()
    async with Jobs(place, work.kinds) as jobs:
        await jobs.aopen()
        submitted = await jobs.asubmit("double", {"number": 21})
        assert submitted.state is JobState.QUEUED
        async with running(jobs):
            assert await jobs.aresult(submitted.id, timeout_s=30) == 42
        info = await jobs.aget(submitted.id)
        assert (info.state, info.attempt, info.arguments) == (JobState.SUCCEEDED, 1, {"number": 21})
        assert work.runs[submitted.id] == 1


async def test_watched_job_comes_with_long_arguments_first_and_last_only(place: Path | str) -> None:
    """A job that changes often is read often, by each of its watchers."""
    long = "x" * 5_000
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit("failing", {"message": long})
        async with running(jobs):
            seen = [each async for each in jobs.awatch(info.id)]
    assert len(seen) > 2
    assert seen[0].arguments == seen[-1].arguments == {"message": long}
    assert [each.arguments for each in seen[1:-1]] == [{}] * (len(seen) - 2)


def test_blocking_forms_submit_and_read(folder: Path) -> None:
    """Without an event loop, as from a script; the database is readable by this user only."""
    with Jobs(folder, Work().kinds) as jobs:
        jobs.open()
        info = jobs.submit("double", {"number": 1})
        assert [each.id for each in jobs.list()] == [info.id]
        assert stat.S_IMODE((folder / "jobs.db").stat().st_mode) == 0o600
    with Jobs(folder, Work().kinds) as again:
        again.open()
        assert again.get(info.id).note == "waits for a worker"


async def test_failing_job_is_given_up_with_its_reason_and_can_be_retried(place: Path | str) -> None:
    """It keeps its arguments; retrying all failed jobs counts them."""
    work = Work()
    async with Jobs(place, work.kinds) as jobs:
        await jobs.aopen()
        async with running(jobs):
            failing = await jobs.asubmit("failing", {"message": "no room"})
            with pytest.raises(JobError, match="StoreError: no room"):
                await jobs.aresult(failing.id, timeout_s=30)
            assert work.runs["failing"] == 2
            [dead] = await jobs.alist(state="failed")
            assert (dead.attempt, dead.arguments, dead.error) == (2, {"message": "no room"}, "StoreError: no room")
            assert await jobs.aretry() == 1
            with pytest.raises(JobError, match="no room"):
                await jobs.aresult(failing.id, timeout_s=30)
            assert work.runs["failing"] == 4
            assert await jobs.aretry(failing.id) == 1


async def test_error_that_cannot_go_away_is_not_tried_again(place: Path | str) -> None:
    """Invalid input stays invalid; the text of a foreign error is not shown."""
    work = Work()
    async with Jobs(place, work.kinds) as jobs:
        await jobs.aopen()
        async with running(jobs):
            hopeless = await jobs.asubmit("hopeless")
            with pytest.raises(JobError, match="never work"):
                await jobs.aresult(hopeless.id, timeout_s=30)
            assert work.runs["hopeless"] == 1
            secretive = await jobs.asubmit("secretive")
            async for info in jobs.awatch(secretive.id):
                if info.error:
                    assert "memory" not in info.error
                    assert "ValueError" in info.error
                    break


async def test_job_that_never_returns_is_ended_by_its_timeout(place: Path | str) -> None:
    """The reason says so."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        async with running(jobs):
            endless = await jobs.asubmit("endless")
            with pytest.raises(JobError, match=r"took longer than 0\.05 s"):
                await jobs.aresult(endless.id, timeout_s=30)


async def test_cancelled_job_stops_and_keeps_its_steps(place: Path | str) -> None:
    """One that waits is cancelled at once; a retry begins after the finished steps."""
    work = Work()
    async with Jobs(place, work.kinds) as jobs:
        await jobs.aopen()
        waiting = await jobs.asubmit("double", {"number": 1})
        assert (await jobs.acancel(waiting.id)).state is JobState.CANCELLED
        async with running(jobs):
            stepped = await jobs.asubmit("stepped", {"steps": 3})
            await work.started.wait()
            assert (await jobs.acancel(stepped.id)).note == "is being cancelled"
            with pytest.raises(JobError, match="cancelled"):
                await jobs.aresult(stepped.id, timeout_s=30)
            work.go_on.set()
            await jobs.aretry(stepped.id)
            assert await jobs.aresult(stepped.id, timeout_s=30) == [0, 1, 2]
        assert work.runs[f"{stepped.id}/0"] == 1
        with pytest.raises(JobError, match="succeeded"):
            await jobs.aretry(stepped.id)


async def test_only_one_job_of_a_key_runs_at_once(place: Path | str) -> None:
    """Another key's job does not wait for it."""
    work = Work()
    async with Jobs(place, work.kinds) as jobs:
        await jobs.aopen()
        first = [await jobs.asubmit("held", {"source": "a"}) for _ in range(3)]
        other = await jobs.asubmit("held", {"source": "b"})
        async with running(jobs):
            async for info in jobs.awatch(other.id):
                if info.state is JobState.RUNNING:
                    break
            work.go_on.set()
            uids = {await jobs.aresult(info.id, timeout_s=30) for info in [*first, other]}
        assert work.most == {"a": 1, "b": 1}
        assert len(uids) == 4


async def test_key_may_have_any_characters(place: Path | str) -> None:
    """PostgreSQL stores no NUL character."""
    work = Work()
    work.go_on.set()
    async with Jobs(place, work.kinds) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit("held", {"source": "a\0b"})
        async with running(jobs):
            await jobs.aresult(info.id, timeout_s=30)
        assert (await jobs.aget(info.id)).arguments == {"source": "a\0b"}
        assert await jobs.alist(kind="a\0b") == []


async def test_key_that_a_job_takes_is_that_of_one_running_job(place: Path | str) -> None:
    """The others wait in their queue, whatever their arguments are, and no attempt is counted."""
    active, most, started = 0, 0, 0
    others, go_on = asyncio.Event(), asyncio.Event()

    @job()
    async def cleaning(context: JobContext, path: str) -> None:
        nonlocal active, most, started
        started += 1
        await context.take_key(path.strip("/"))
        active += 1
        most = max(most, active)
        if path == "b":
            others.set()
        await go_on.wait()
        active -= 1

    async with Jobs(place, [cleaning]) as jobs:
        await jobs.aopen()
        made = [await jobs.asubmit("cleaning", {"path": path}) for path in ("a", "a/", "/a", "b")]
        async with running(jobs):
            await others.wait()  # it was submitted last
            go_on.set()
            for info in made:
                await jobs.aresult(info.id, timeout_s=30)
        assert most == 2
        assert started > len(made)
        assert [(await jobs.aget(info.id)).attempt for info in made] == [1] * 4


async def test_tenants_take_turns(place: Path | str) -> None:
    """A tenant with many jobs holds another one up by one job only, and sees only its own."""
    work = Work()
    async with Jobs(place, work.kinds) as jobs:
        await jobs.aopen()
        many = [await jobs.asubmit("double", {"number": n}) for n in range(8)]
        few = [await jobs.asubmit("double", {"number": n}, by=OTHER) for n in range(2)]
        async with running(jobs, slots=2):
            for info, tenant in [(few[-1], "other"), (many[-1], DEFAULT_TENANT)]:
                await jobs.aresult(info.id, timeout_s=30, tenant=tenant)
        assert "other" in work.order[:2]
        assert work.order.index("other", work.order.index("other") + 1) <= 4
        assert len(await jobs.alist(tenant="other")) == 2
        for call in (jobs.aget, jobs.acancel, jobs.aretry):
            with pytest.raises(JobNotFoundError):
                await call(many[0].id, tenant="other")


async def test_full_queue_takes_one_job_more_of_a_tenant_that_has_none(place: Path | str) -> None:
    """A tenant whose jobs last for hours does not hold up those of others."""
    work = Work()
    async with Jobs(place, work.kinds) as jobs:
        await jobs.aopen()
        long = await jobs.asubmit("held")
        async with running(jobs, slots=1):
            await work.started.wait()
            waiting = await jobs.asubmit("double", {"number": 1})
            for number in range(2):
                info = await jobs.asubmit("double", {"number": number}, by=OTHER)
                assert await jobs.aresult(info.id, timeout_s=30, tenant="other") == 2 * number
            assert (await jobs.aget(waiting.id)).state is JobState.QUEUED
            work.go_on.set()
            for info in (long, waiting):
                await jobs.aresult(info.id, timeout_s=30)


async def test_waiting_jobs_of_a_tenant_are_limited(place: Path | str) -> None:
    """Another tenant still submits."""
    async with Jobs(place, Work().kinds, limits=JobLimits(queued=2)) as jobs:
        await jobs.aopen()
        for number in range(2):
            await jobs.asubmit("double", {"number": number})
        with pytest.raises(OverloadedError, match="2 jobs"):
            await jobs.asubmit("double", {"number": 3})
        await jobs.asubmit("double", {"number": 4}, by=OTHER)


async def test_submitting_again_under_one_id_stores_one_job(place: Path | str) -> None:
    """The id of another tenant's job is refused, without telling of it."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        for number in (1, 2):
            info = await jobs.asubmit("double", {"number": number}, job_id="mine")
            assert info.arguments == {"number": 1}
        with pytest.raises(InvalidInputError, match="taken"):
            await jobs.asubmit("double", {"number": 1}, job_id="mine", by=OTHER)
        assert len(await jobs.alist()) == 1


@pytest.mark.parametrize(
    ("kind", "arguments", "says"),
    [
        ("nothing", {}, "no kind of job 'nothing'"),
        ("double", {}, "'number' .* Field required"),
        ("double", {"number": "one"}, "valid integer"),
        ("double", {"number": 1, "more": 2}, "'more'"),
        ("failing", {"message": "x" * 1_100_000}, "more than 1048576"),
    ],
)
async def test_wrong_job_is_refused(place: Path | str, kind: str, arguments: dict[str, object], says: str) -> None:
    """Before anything is stored."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        with pytest.raises(InvalidInputError, match=says):
            await jobs.asubmit(kind, arguments)  # type: ignore[arg-type]
        assert await jobs.alist() == []


async def test_kind_for_administrators_is_refused_to_others(place: Path | str) -> None:
    """The scope `jobs` is not enough."""

    @job(admin=True)
    async def dangerous() -> None: ...

    async with Jobs(place, [dangerous]) as jobs:
        await jobs.aopen()
        with pytest.raises(PermissionDeniedError, match="admin"):
            await jobs.asubmit(dangerous, by=OTHER)
        await jobs.asubmit(dangerous)


async def test_second_owner_of_the_file_is_refused(folder: Path) -> None:
    """It does not wait for the first, which goes on."""
    async with Jobs(folder, Work().kinds) as first, Jobs(folder, Work().kinds) as second:
        await first.aopen()
        with pytest.raises(StoreLockedError):
            await asyncio.wait_for(second.aopen(), 60)
        await first.asubmit("double", {"number": 1})


async def test_ended_jobs_are_deleted_after_their_time(place: Path | str) -> None:
    """Failed ones are kept longer."""
    work = Work()
    async with Jobs(place, work.kinds) as jobs:
        await jobs.aopen()
        async with running(jobs):
            done = await jobs.asubmit("double", {"number": 1})
            failed = await jobs.asubmit("hopeless")
            await jobs.aresult(done.id, timeout_s=30)
            with pytest.raises(JobError):
                await jobs.aresult(failed.id, timeout_s=30)
        assert await jobs.backend.asweep(succeeded_s=0, failed_s=60) == 1
        assert [info.id for info in await jobs.alist()] == [failed.id]


async def test_bytes_of_jobs_that_wait_are_limited(place: Path | str) -> None:
    """Small arguments are bounded by the number of jobs; other tenants have bytes of their own."""
    limits = JobLimits(queued_bytes=50_000)
    async with Jobs(place, Work().kinds, limits=limits) as jobs:
        await jobs.aopen()
        waiting = [await jobs.asubmit("failing", {"message": "x" * 20_000}) for _ in range(2)]
        with pytest.raises(OverloadedError, match="50000 bytes of arguments"):
            await jobs.asubmit("failing", {"message": "x" * 20_000})
        await jobs.asubmit("failing", {"message": "small"})
        await jobs.asubmit("failing", {"message": "x" * 20_000}, by=OTHER)
        await jobs.acancel(waiting[0].id)
        await jobs.asubmit("failing", {"message": "x" * 20_000})
