"""Cancels that run beside claims and parts, in transactions of other processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import psycopg
import pytest

from super_advanced_agents.jobs import JobLimits, Jobs, SQLJobBackend, job
from super_advanced_agents.jobs.backend import NewJob
from super_advanced_agents.jobs.parts import part_id

_QUEUES = {"default": 1}


@job()
async def nothing() -> None:
    """Do nothing."""


async def _beside(url: str, statement: str, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Return what a call returns that begins while a transaction with a statement is open."""
    address, _, schema = url.rpartition("schema=")
    options = f"-c search_path={schema}"
    connection = await psycopg.AsyncConnection.connect(address.rstrip("&?"), options=options)
    async with connection:
        await connection.execute(statement.encode())
        task = asyncio.create_task(call())
        await asyncio.wait({task}, timeout=0.5)  # it waits for the transaction, or is wrong at once
    return await task


@pytest.fixture
def url(postgres_schema_url: str) -> str:
    """Return the URL of an empty database of jobs."""
    return postgres_schema_url


async def test_job_that_is_cancelled_while_it_is_claimed_is_not_claimed(url: str) -> None:
    """The worker goes on without it."""
    async with Jobs(SQLJobBackend(url), [nothing]) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit(nothing)
        await jobs.backend.aheartbeat("one", ["nothing"], ["default"])
        cancel = f"UPDATE jobs SET state = 'cancelled' WHERE id = '{info.id}'"
        claim = lambda: jobs.backend.aclaim("one", _QUEUES, ["nothing"], JobLimits())  # noqa: E731
        assert await _beside(url, cancel, claim) == []


async def test_part_is_not_submitted_while_its_job_is_cancelled(url: str) -> None:
    """It would be left alone: the cancel has not seen it."""
    async with Jobs(SQLJobBackend(url), [nothing]) as jobs:
        await jobs.aopen()
        info = await jobs.asubmit(nothing)
        await jobs.backend.aheartbeat("one", ["nothing"], ["default"])
        [claimed] = await jobs.backend.aclaim("one", _QUEUES, ["nothing"], JobLimits())
        part = NewJob(
            id=part_id(info.id, 0), tenant=claimed.tenant, scopes=[], kind="nothing", queue="default", arguments=b"{}"
        )
        cancel = f"UPDATE jobs SET cancelling = 1 WHERE id = '{info.id}'"
        assert await _beside(url, cancel, lambda: jobs.backend.asubmit_part(claimed, part)) is None
        assert [each.id for each in await jobs.alist()] == [info.id]
