"""Schedules: cron expressions in time zones, each time once."""

from __future__ import annotations

import asyncio
from datetime import datetime
from itertools import islice, pairwise, takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.unit.jobs.kinds import Work, running

from super_advanced_agents.errors import InvalidInputError, JobNotFoundError
from super_advanced_agents.jobs import JobLimits, Jobs, SQLJobBackend
from super_advanced_agents.jobs.cron import latest_times, next_times, times_after
from super_advanced_agents.jobs.scheduler import Scheduler

BERLIN = ZoneInfo("Europe/Berlin")


def local(*parts: int) -> float:
    """Return a time of Berlin in seconds since 1970."""
    return datetime(*parts, tzinfo=BERLIN).timestamp()  # type: ignore[arg-type,misc]


def shown(cron: str, after: float, n: int) -> list[str]:
    """Return the next times of a cron expression as Berlin's clocks show them."""
    times = islice(times_after(cron, "Europe/Berlin", after), n)
    return [datetime.fromtimestamp(time, BERLIN).strftime("%d %H:%M") for time in times]


def test_time_that_the_clocks_skip_runs_once_after_the_gap() -> None:
    """On 28 March 2027 there is no 2:30 in Berlin."""
    assert shown("30 2 * * *", local(2027, 3, 27, 12), 2) == ["28 03:00", "29 02:30"]


def test_time_that_the_clocks_repeat_runs_once() -> None:
    """On 31 October 2027 Berlin has 2:30 twice."""
    assert shown("30 2 * * *", local(2027, 10, 30, 12), 2) == ["31 02:30", "01 02:30"]


@pytest.mark.parametrize("minute", [0, 10, 29, 31])
def test_no_time_has_passed_while_the_clocks_repeat_an_hour(minute: int) -> None:
    """At 2:10 for the second time, 2:30 for the first time is over."""
    after = datetime(2027, 10, 31, 2, minute, tzinfo=BERLIN, fold=1).timestamp()
    assert shown("30 2 * * *", after, 2) == ["01 02:30", "02 02:30"]
    assert all(time > after for time in next_times("0-59/7 2 * * *", "Europe/Berlin", after))


@pytest.mark.parametrize("cron", ["* * * * *", "*/7 * * * *", "30 2 * * *", "0 0 1 * *", "0 0 29 2 *"])
@pytest.mark.parametrize("days", [0.01, 3, 400])
def test_latest_times_of_a_span_are_the_last_of_all(cron: str, days: float) -> None:
    """They are sought from the end, since a year has half a million minutes."""
    now = local(2027, 11, 2, 12) + 30
    after = now - days * 86_400
    whole = [*takewhile(lambda time: time <= now, times_after(cron, "Europe/Berlin", after))]
    assert latest_times(cron, "Europe/Berlin", after, now, 100) == whole[-100:]


def test_interval_is_kept_when_the_clocks_change() -> None:
    """Every half hour stays every half hour."""
    times = list(islice(times_after("*/30 * * * *", "Europe/Berlin", local(2027, 10, 31, 0)), 10))
    assert {later - earlier for earlier, later in pairwise(times)} == {1800.0}


@pytest.mark.parametrize(
    ("cron", "zone", "field"),
    [
        ("0 0 30 2 *", "UTC", "cron"),
        ("* * * * * *", "UTC", "cron"),
        ("whenever", "UTC", "cron"),
        ("61 * * * *", "UTC", "cron"),
        ("0 7 * * *", "Mars/Olympus", "zone"),
        ("0 7 * * *", "../../etc/passwd", "zone"),
    ],
)
def test_wrong_schedule_is_refused(cron: str, zone: str, field: str) -> None:
    """One that never comes, or comes each second, too."""
    with pytest.raises(InvalidInputError) as caught:
        next_times(cron, zone, 0.0)
    assert caught.value.field == field


async def test_schedule_shows_its_next_five_times_and_can_be_paused(place: Path | str) -> None:
    """A paused one shows none; deleting it twice says that there is none."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        made = await jobs.aput_schedule("daily", "double", "0 7 * * *", {"number": 1}, zone="Europe/Berlin")
        assert [datetime.fromtimestamp(time, BERLIN).hour for time in made.next_at] == [7] * 5
        assert (await jobs.apause_schedule("daily")).next_at == ()
        assert [each.paused for each in await jobs.aschedules()] == [True]
        assert len((await jobs.apause_schedule("daily", paused=False)).next_at) == 5
        await jobs.adelete_schedule("daily")
        with pytest.raises(JobNotFoundError):
            await jobs.adelete_schedule("daily")
        with pytest.raises(InvalidInputError, match="valid integer"):
            await jobs.aput_schedule("wrong", "double", "0 7 * * *", {"number": "x"})


async def test_resuming_a_schedule_that_is_not_paused_drops_no_time(place: Path | str) -> None:
    """A call that is repeated at the moment of firing must not skip the job."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        await jobs.aput_schedule("daily", "double", "0 7 * * *", {"number": 1})
        assert isinstance(jobs.backend, SQLJobBackend)
        await jobs.backend._write(lambda db: db.execute("UPDATE job_schedules SET due_at = 0"))
        await jobs.apause_schedule("daily", paused=False)
        scheduler = Scheduler(jobs.backend, jobs.kinds, JobLimits())
        assert await scheduler.afire() == 1
        await jobs.backend._write(lambda db: db.execute("UPDATE job_schedules SET due_at = 0"))
        for paused in (True, True, False):
            await jobs.apause_schedule("daily", paused=paused)
        assert await scheduler.afire() == 0


@pytest.mark.parametrize(("missed", "jobs_made"), [("skip", 0), ("one", 1), ("all", 3)])
async def test_missed_times_are_treated_as_chosen(place: Path | str, missed: str, jobs_made: int) -> None:
    """After three days without a scheduler, seen an hour after the last time."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        made = await jobs.aput_schedule("daily", "double", "0 7 * * *", {"number": 1}, missed=missed)  # type: ignore[arg-type]
        scheduler = Scheduler(jobs.backend, jobs.kinds, JobLimits())
        assert await scheduler.afire(made.next_at[0] - 1) == 0
        assert await scheduler.afire(made.next_at[2] + 3600) == 1
        assert len(await jobs.alist()) == jobs_made
        assert await scheduler.afire(made.next_at[2] + 3601) == 0


async def test_one_time_makes_one_job_however_many_schedulers_run(place: Path | str) -> None:
    """Twenty at once."""
    work = Work()
    async with Jobs(place, work.kinds) as jobs:
        await jobs.aopen()
        made = await jobs.aput_schedule("daily", "double", "0 7 * * *", {"number": 3}, missed="skip")
        schedulers = [Scheduler(jobs.backend, jobs.kinds, JobLimits()) for _ in range(20)]
        fired = await asyncio.gather(*(each.afire(made.next_at[0]) for each in schedulers))
        assert sum(fired) == 1
        [info] = await jobs.alist()
        assert info.schedule == "daily"
        async with running(jobs):
            assert await jobs.aresult(info.id, timeout_s=30) == 6


async def test_schedules_of_a_tenant_are_limited(place: Path | str) -> None:
    """Replacing one needs no room."""
    async with Jobs(place, Work().kinds, limits=JobLimits(schedules=1)) as jobs:
        await jobs.aopen()
        for cron in ("0 7 * * *", "0 8 * * *"):
            await jobs.aput_schedule("daily", "double", cron, {"number": 1})
        with pytest.raises(InvalidInputError, match="1 schedules"):
            await jobs.aput_schedule("other", "double", "0 7 * * *", {"number": 1})


async def test_schedule_fires_again_when_a_clock_that_was_ahead_is_set_back(place: Path | str) -> None:
    """A time that made its job already makes no second one."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        made = await jobs.aput_schedule("daily", "double", "0 7 * * *", {"number": 1})
        scheduler = Scheduler(jobs.backend, jobs.kinds, JobLimits())
        assert await scheduler.afire(made.next_at[3]) == 1
        for time in (made.next_at[0] - 3600, made.next_at[0], made.next_at[3]):
            await scheduler.afire(time)
        assert len(await jobs.alist()) == 2


async def test_schedule_that_cannot_be_understood_says_so_and_stops_no_other(place: Path | str) -> None:
    """As where a machine does not know its time zone, or no process its kind of job."""
    async with Jobs(place, Work().kinds) as jobs:
        await jobs.aopen()
        for name in ("broken", "other", "whole"):
            made = await jobs.aput_schedule(name, "double", "0 7 * * *", {"number": 1})
        assert isinstance(jobs.backend, SQLJobBackend)
        for change in ("zone = 'Mars/Olympus' WHERE name = 'broken'", "kind = 'unknown' WHERE name = 'other'"):
            await jobs.backend._write(lambda db, change=change: db.execute(f"UPDATE job_schedules SET {change}"))  # type: ignore[misc]
        await Scheduler(jobs.backend, jobs.kinds, JobLimits()).afire(made.next_at[0])
        assert [info.schedule for info in await jobs.alist()] == ["whole"]
        assert "Mars" in (await jobs.aschedules())[0].error
