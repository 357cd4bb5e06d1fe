"""Test what calls cost in units of the rate limits, by the one formula of REST, gRPC and MCP."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from super_advanced_agents._runtime.metering import meter_prompt, metered
from super_advanced_agents.errors import RateLimitedError
from super_advanced_agents.protocol.requests import AskRequest, CountMemoriesRequest, ListMemoriesRequest
from super_advanced_agents.server.limits.cost import answer_units, request_units, work_units
from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.tenancy.context import ANYBODY, RequestContext, active_context

KIB = 1024


def test_everyday_call_costs_no_more_than_its_one_unit():
    """A search with a filter of some values and its answer are free beyond the unit of every call."""
    search = SimpleNamespace(where={"a": {"$in": list(range(50))}}, top_k=10)
    assert request_units(4 * KIB) + work_units(search) + answer_units(30 * KIB) == 0


@pytest.mark.parametrize(
    ("request_", "units"),
    [
        (CountMemoriesRequest(where={"a": {"$in": list(range(1_000))}}), 10),
        (CountMemoriesRequest(where={"$or": [{"a": [[1] * 100]}, {"b": {"c": list(range(100))}}]}), 2),
        (CountMemoriesRequest(where={"a": {"$in": list(range(1_000_000))}}), 10),
        (CountMemoriesRequest(), 0),
        (ListMemoriesRequest(limit=1_000), 0),
        (AskRequest(question="x", top_k=1_000), 10),
        (SimpleNamespace(query_vectors=np.zeros((100, 3)), top_k=1_000, where=None), 1_000),
    ],
    ids=["values", "nested values", "too many values", "no filter", "page", "matches", "batch"],
)
def test_values_of_a_filter_and_matches_are_charged(request_, units):
    """One unit for each hundred; values beyond the limit are not even counted."""
    assert work_units(request_) == units


def test_bytes_of_requests_and_answers_are_charged():
    """A body of 8 MiB costs 512 units, and an answer of 32 MiB as many."""
    assert request_units(8 * KIB * KIB) == 512
    assert answer_units(32 * KIB * KIB) == 512


async def test_prompt_is_charged_to_the_caller_in_whose_context_it_is_sent_to_a_model():
    """A token is four bytes; a caller whose allowance is used up is refused before the model reads anything."""
    limiter = RateLimiter(per_key=100, per_tenant=0)
    with active_context(RequestContext(principal=ANYBODY, limiter=limiter)):
        await meter_prompt("x" * 200, "y" * 120)
        with pytest.raises(RateLimitedError):
            await meter_prompt("z" * 400)
        with metered(None):
            await meter_prompt("z" * 400)
    await meter_prompt("z" * 400)
    assert (await limiter.charge(ANYBODY, 0)).remaining == 20


async def test_settled_units_take_what_is_left_and_refuse_nothing():
    """The call after them is refused."""
    limiter = RateLimiter(per_key=100, per_tenant=1_000)
    context = RequestContext(principal=ANYBODY, limiter=limiter)
    await context.settle(30)
    assert (await limiter.charge(ANYBODY, 0)).remaining == 70
    await context.settle(500)
    with pytest.raises(RateLimitedError):
        await context.charge(1)
