"""Kinds of jobs that misbehave: they raise what ends a process, ignore their cancellation, or cannot be checked."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, Field
from tests.unit.jobs.kinds import Work, running

from super_advanced_agents.errors import InvalidInputError, JobError
from super_advanced_agents.jobs import JobContext, Jobs, JobState, job, worker
from super_advanced_agents.jobs.scheduler import Scheduler


class _OwnError(BaseException):
    pass


_RAISED = [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), _OwnError("a text")]


@pytest.mark.parametrize("raised", _RAISED, ids=lambda each: type(each).__name__)
async def test_job_that_raises_what_ends_a_process_fails_alone(folder: Path, raised: BaseException) -> None:
    """It fails as with any other error, and its worker goes on."""

    @job(max_attempts=1)
    async def raising() -> None:
        raise raised

    async with Jobs(folder, [*Work().kinds, raising]) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit("raising")
        async with running(jobs):
            with pytest.raises(JobError, match=type(raised).__name__):
                await jobs.aresult(info.id, timeout_s=30)
            assert await jobs.aresult((await jobs.asubmit("double", {"number": 1})).id, timeout_s=30) == 2


async def test_job_that_ignores_its_cancellation_does_not_keep_the_worker(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker stops, says so, and hands the job back."""
    monkeypatch.setattr(worker, "_CANCELLED_S", 0.05)
    started, end = asyncio.Event(), asyncio.Event()

    @job()
    async def stubborn() -> None:
        started.set()
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue

    async with Jobs(folder, [stubborn]) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit("stubborn")
        with caplog.at_level(logging.ERROR):
            async with asyncio.timeout(20), running(jobs):
                await started.wait()
        assert "jobs.not_stopped" in caplog.text
        assert (await jobs.aget(info.id)).state is JobState.QUEUED
        end.set()


def _refused(value: str) -> str:
    raise KeyError(value)


@job()
async def unchecked(text: Annotated[str, AfterValidator(_refused)]) -> None:
    """Have an argument whose check fails by an error of its own."""


async def test_argument_whose_check_raises_another_error_is_refused(folder: Path) -> None:
    """The text of the error is not shown, since it may hold the value."""
    async with Jobs(folder, [unchecked]) as jobs:
        await jobs.aopen()
        with pytest.raises(InvalidInputError, match="KeyError") as caught:
            await jobs.asubmit("unchecked", {"text": "a secret"})
        assert "secret" not in str(caught.value)


async def test_worker_goes_on_after_an_error_that_it_does_not_know(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of one schedule or of the machine must not leave a server without a worker."""
    fire, failures = Scheduler.afire, 0

    async def failing_once(self: Scheduler, now: float | None = None) -> int:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise OverflowError("timestamp out of range")
        return await fire(self, now)

    monkeypatch.setattr(Scheduler, "afire", failing_once)
    async with Jobs(folder, Work().kinds) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit("double", {"number": 4})
        async with running(jobs):
            assert await jobs.aresult(info.id, timeout_s=30) == 8


@job()
async def bounded(number: Annotated[int, Field(ge=1)]) -> int:
    """Have an argument with a limit."""
    return number


async def test_limit_of_an_argument_is_checked_when_a_job_is_submitted(folder: Path) -> None:
    """Limits stand in `Annotated`, as pydantic has them."""
    async with Jobs(folder, [bounded]) as jobs:
        await jobs.aopen()
        with pytest.raises(InvalidInputError, match="greater than or equal to 1"):
            await jobs.asubmit("bounded", {"number": 0})


async def test_thread_of_a_job_is_none_for_which_a_process_waits(folder: Path) -> None:
    """It has the context of the job, and its error is that of the job."""
    value: ContextVar[str] = ContextVar("value")

    def blocking(text: str, *, fails: bool = False) -> list[Any]:
        if fails:
            raise LookupError(text)
        return [text, value.get(), threading.current_thread().daemon]

    @job(max_attempts=1)
    async def waiting(context: JobContext, fails: bool = False) -> list[Any]:
        value.set("of the job")
        return await context.in_thread(blocking, "given", fails=fails)

    async with Jobs(folder, [waiting]) as jobs:
        await jobs.aopen()
        good, bad = await jobs.asubmit("waiting"), await jobs.asubmit("waiting", {"fails": True})
        async with running(jobs):
            assert await jobs.aresult(good.id, timeout_s=30) == ["given", "of the job", True]
            with pytest.raises(JobError, match="LookupError"):
                await jobs.aresult(bad.id, timeout_s=30)
