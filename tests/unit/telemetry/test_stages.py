"""Test that the stages of a request are timed, and only of that request."""

from __future__ import annotations

import asyncio

import pytest

from super_advanced_agents.telemetry import StageClock, current_request_id, request_id, stage


def test_stages_add_up_by_name():
    """Two stages of one name are one sum; a stage that fails counts too."""
    clock = StageClock()
    with request_id("r1", clock):
        with stage("embed"), stage("search"):
            pass
        first_s = clock.seconds["embed"]
        with pytest.raises(ValueError, match="no"), stage("embed"):
            raise ValueError("no")
    assert set(clock.seconds) == {"embed", "search"}
    assert clock.seconds["embed"] > first_s


async def test_concurrent_requests_have_their_own_ids_and_stages():
    """Each task sees the id and the clock of its own request."""
    both = asyncio.Barrier(2)

    async def serve(name, clock):
        with request_id(name, clock), stage(name):
            await both.wait()
            return current_request_id()

    clocks = StageClock(), StageClock()
    assert await asyncio.gather(serve("a", clocks[0]), serve("b", clocks[1])) == ["a", "b"]
    assert [set(clock.seconds) for clock in clocks] == [{"a"}, {"b"}]


def test_stage_outside_of_a_request_is_not_kept():
    """Without a request there is no id, and nothing to add up."""
    with stage("embed"):
        assert current_request_id() == ""
