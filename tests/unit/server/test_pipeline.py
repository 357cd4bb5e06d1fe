"""The order of the steps that every call passes, whichever protocol it came by."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from tests.unit.server.piped import operation, state

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
from super_advanced_agents.server.pipeline import IncomingRequest
from super_advanced_agents.tenancy.context import ANYBODY, Access, Principal, current_context

WRITE = operation("POST", "/write", access=Access.WRITE, permit=PermitKind.WRITE, keyed=True)
STREAM = operation("", "", access=Access.WRITE, permit=PermitKind.WRITE)
READER = Principal(tenant="acme", scopes=frozenset({Access.READ}), key_id="reader")
TWO_KEYS = (("idempotency-key", "a"), ("idempotency-key", "b"))
NO_TIME = (("request-timeout", "soon"),)


class _Known:
    """Knows callers by the names they give for a key."""

    async def authenticate(self, *, authorization, api_key):
        del authorization
        if api_key not in {"reader", "anybody"}:
            raise AuthenticationError("nobody knows this key")
        return READER if api_key == "reader" else ANYBODY


@pytest.mark.parametrize(
    ("full", "caller", "allowance", "fields", "refusal"),
    [
        (True, "stranger", 0, (*NO_TIME, *TWO_KEYS), OverloadedError),
        (False, "stranger", 0, (*NO_TIME, *TWO_KEYS), AuthenticationError),
        (False, "reader", 0, (*NO_TIME, *TWO_KEYS), PermissionDeniedError),
        (False, "anybody", 0, (*NO_TIME, *TWO_KEYS), RateLimitedError),
        (False, "anybody", 9, (*NO_TIME, *TWO_KEYS), "Request-Timeout"),
        (False, "anybody", 9, TWO_KEYS, "Idempotency-Key"),
    ],
)
async def test_a_call_that_fails_several_steps_is_refused_by_the_first(full, caller, allowance, fields, refusal):
    """Admission, authentication, scope, rate limit, deadline, idempotency; and its permit is free again."""
    admission = Admission(permits={PermitKind.WRITE: 1}, wait_s=0.001)
    limiter = RateLimiter(per_key=max(allowance, 1), per_tenant=0)
    if not allowance:
        await limiter.charge(ANYBODY, 1)
    pipeline = state(admission=admission, limiter=limiter, authenticator=_Known()).pipeline
    incoming = IncomingRequest(operation=WRITE, fields=(("x-api-key", caller), *fields))
    async with AsyncExitStack() as held:
        if full:
            await held.enter_async_context(admission.enter(PermitKind.WRITE))
        with pytest.raises(InvalidInputError if isinstance(refusal, str) else refusal) as told:
            async with pipeline.admit(incoming):
                raise AssertionError("it was let in")
    assert not isinstance(refusal, str) or told.value.field == refusal
    assert admission.queue(PermitKind.WRITE).in_flight == 0


async def test_a_call_that_passes_is_the_current_one_inside_alone():
    """With its caller, its key and the time it may take."""
    incoming = IncomingRequest(operation=WRITE, fields=(("idempotency-key", "k"), ("request-timeout", "2.5")))
    async with state().pipeline.admit(incoming):
        assert current_context() is incoming.context
        assert (incoming.context.principal, incoming.key, incoming.timeout_s) == (ANYBODY, "k", 2.5)
    with pytest.raises(LookupError):
        current_context()


async def test_a_write_that_is_not_keyed_refuses_a_key_and_a_read_ignores_it():
    """By its row of the table, whatever its name."""
    key = (("idempotency-key", "k"),)
    with pytest.raises(InvalidInputError, match="takes no"):
        async with state().pipeline.admit(IncomingRequest(operation=STREAM, fields=key)):
            pass
    read = IncomingRequest(operation=operation("GET", "/read", access=Access.READ), fields=key)
    async with state().pipeline.admit(read):
        assert read.key is None


async def test_messages_of_a_stream_have_the_deadline_each_for_itself():
    """The stream as a whole has none."""
    incoming = IncomingRequest(operation=STREAM, fields=(), streams=True)
    async with state(max_timeout_s=0.001).pipeline.admit(incoming):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(incoming.timeout_s):
                await asyncio.Event().wait()
