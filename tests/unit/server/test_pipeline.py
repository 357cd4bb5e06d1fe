"""Test the order of the steps that every call passes, over both protocols."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.server.piped import operation, pipeline_state

from super_advanced_agents.errors import (
    AuthenticationError,
    InvalidInputError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitedError,
)
from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.server.pipeline import IncomingRequest, _RefusedError
from super_advanced_agents.tenancy.context import ANYBODY, Access, Principal, current_context

WRITE = operation("POST", "/write", access=(Access.WRITE,), permit=PermitKind.WRITE, keyed=True)
STREAM = operation("", "", access=(Access.WRITE,), permit=PermitKind.WRITE)
READER = Principal(tenant="acme", scopes=frozenset({Access.READ}), key_id="reader")
TWO_KEYS = (("idempotency-key", "a"), ("idempotency-key", "b"))
NO_TIME = (("request-timeout", "soon"),)


class _NamedCallers:
    """Authenticate callers by the names that they send as API keys."""

    async def authenticate(self, *, authorization, api_key):
        del authorization
        if api_key not in {"reader", "anybody"}:
            raise AuthenticationError("the API key is not valid")
        return READER if api_key == "reader" else ANYBODY


@pytest.mark.parametrize(
    ("full", "caller", "units_left", "fields", "refusal"),
    [
        (True, "stranger", 0, (*NO_TIME, *TWO_KEYS), AuthenticationError),
        (True, "reader", 0, (*NO_TIME, *TWO_KEYS), PermissionDeniedError),
        (True, "anybody", 0, (*NO_TIME, *TWO_KEYS), OverloadedError),
        (False, "anybody", 0, (*NO_TIME, *TWO_KEYS), RateLimitedError),
        (False, "anybody", 9, (*NO_TIME, *TWO_KEYS), "Request-Timeout"),
        (False, "anybody", 9, TWO_KEYS, "Idempotency-Key"),
    ],
)
async def test_call_that_fails_several_steps_is_refused_by_the_first(full, caller, units_left, fields, refusal):
    """The steps are authentication, scope, overload, rate limit, deadline and idempotency."""
    admission = Admission(permits={PermitKind.WRITE: 1})
    limiter = RateLimiter(per_key=max(units_left, 1), per_tenant=0)
    if not units_left:
        await limiter.charge(ANYBODY, 1)
    pipeline = pipeline_state(admission=admission, limiter=limiter, authenticator=_NamedCallers()).pipeline
    incoming = IncomingRequest(operation=WRITE, fields=(("x-api-key", caller), *fields))
    pool = admission.pool(PermitKind.WRITE)
    if full:
        assert pool.enter_now(ANYBODY.tenant)
        pool.saturated.add(ANYBODY.tenant)
    with pytest.raises(InvalidInputError if isinstance(refusal, str) else refusal) as caught:
        await pipeline.check(incoming)
    assert not isinstance(refusal, str) or caught.value.field == refusal
    assert pool.in_flight == full


async def test_admitted_call_has_the_current_context_only_while_it_runs():
    """The context has its principal, its idempotency key and its timeout."""
    incoming = IncomingRequest(operation=WRITE, fields=(("idempotency-key", "k"), ("request-timeout", "2.5")))
    pipeline = pipeline_state().pipeline
    await pipeline.check(incoming)
    async with pipeline.work(incoming):
        assert current_context() is incoming.context
        assert (incoming.context.principal, incoming.key, incoming.timeout_s) == (ANYBODY, "k", 2.5)
    with pytest.raises(LookupError):
        current_context()


async def test_idempotency_key_is_refused_by_unkeyed_writes_and_ignored_by_reads():
    """The operation's row in the table decides, not its name."""
    key = (("idempotency-key", "k"),)
    with pytest.raises(InvalidInputError, match="takes no"):
        await pipeline_state().pipeline.check(IncomingRequest(operation=STREAM, fields=key))
    read = IncomingRequest(operation=operation("GET", "/read", access=(Access.READ,)), fields=key)
    await pipeline_state().pipeline.check(read)
    assert read.key is None


async def test_deadline_of_a_stream_applies_to_each_message():
    """The stream as a whole has no deadline."""
    incoming = IncomingRequest(operation=STREAM, fields=(), streams=True)
    pipeline = pipeline_state(max_timeout_s=0.001).pipeline
    await pipeline.check(incoming)
    async with pipeline.work(incoming):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(incoming.timeout_s):
                await asyncio.Event().wait()


async def test_permit_is_held_only_while_the_server_works():
    """Neither the checks nor the wait for a body hold one; a stream takes one for each of its messages."""
    state = pipeline_state()
    pool = state.services.admission.pool(PermitKind.WRITE)
    for streams, held in ((False, 1), (True, 0)):
        incoming = IncomingRequest(operation=STREAM, fields=(), streams=streams)
        await state.pipeline.check(incoming)
        assert pool.in_flight == 0
        async with state.pipeline.work(incoming):
            assert pool.in_flight == held
        assert pool.in_flight == 0


async def test_deadline_ends_the_wait_for_a_permit():
    """The time that a request may take begins before the permit."""
    state = pipeline_state(max_timeout_s=0.01, admission=Admission(permits={PermitKind.WRITE: 1}, wait_s=60))
    pool = state.services.admission.pool(PermitKind.WRITE)
    assert pool.enter_now(ANYBODY.tenant)
    incoming = IncomingRequest(operation=STREAM, fields=())
    await state.pipeline.check(incoming)
    with pytest.raises(_RefusedError, match="took longer"):
        async with state.pipeline.work(incoming):
            raise AssertionError("there was no permit")
    assert (pool.in_flight, pool.waiting) == (1, 0)
