"""Test that a retry at another server is the same write, with the requests in PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.server.idempotency.answering import ONE, TWO, Handler

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.server.idempotency.results import Idempotency
from super_advanced_agents.tenancy.shared_state import SharedState


@pytest.fixture
def servers(postgres_schema_url):
    """Open the requests at two servers that share a database."""
    with SharedState(postgres_schema_url) as state:
        state.open()
        with Idempotency(state) as one, Idempotency(state) as other:
            yield one, other


async def test_retry_at_another_server_gets_the_first_reply(servers):
    """It is the same write, and is not carried out again."""
    one, other = servers
    handler = Handler(201)
    assert (await one.areply("k", ONE, handler)).body == b"1"
    again = await other.areply("k", ONE, handler)
    assert (again.status, again.body, again.replayed) == (201, b"1", True)
    with pytest.raises(InvalidInputError):
        await other.areply("k", TWO, handler)


async def test_retry_at_another_server_waits_for_an_attempt_that_runs(servers):
    """It is told to come again; after an attempt without a stored reply it carries the write out with the same uids."""
    one, other = servers
    handler = Handler(503)
    handler.may_finish.clear()
    first = asyncio.create_task(one.areply("k", ONE, handler))
    while not handler.uids:  # noqa: ASYNC110 - a thread begins the attempt
        await asyncio.sleep(0.001)
    assert await other.areply("k", ONE, handler) is None
    handler.may_finish.set()
    assert (await first).status == 503
    async with asyncio.timeout(4):  # a lease that was not given back lasts for five seconds
        while await other.areply("k", ONE, handler) is None:  # noqa: ASYNC110 - another server ends it
            await asyncio.sleep(0.01)
    assert handler.uids[0] == handler.uids[1]
