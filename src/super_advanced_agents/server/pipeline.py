"""The steps that every call passes, over REST and gRPC alike, in one order.

Admission, authentication, scope, rate limit, deadline, idempotency; then the handler. A browser's call has passed the
check of its host before (`middleware.hosts`); programs that speak gRPC tell no host that their user did not choose.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from super_advanced_agents.errors import (
    AuthenticationError,
    InvalidInputError,
    RateLimitedError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.protocol.operations import Operation, PermitKind
from super_advanced_agents.protocol.problems import problem_details, problem_of, retry_after
from super_advanced_agents.server.idempotency.results import FIELD, Reply, digest_of
from super_advanced_agents.server.limits.rate_limit import Quota
from super_advanced_agents.server.route_table import permit_of
from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.context import RequestContext, active_context
from super_advanced_agents.tenancy.result_cache import NO_CACHE, asks_for_fresh
from super_advanced_agents.types import JSONValue

TIMEOUT_FIELD = "Request-Timeout"
CREDENTIAL_FIELDS = ("authorization", "x-api-key")
_QUOTA = "quota"
_KEY, _TIMEOUT, _CACHE_CONTROL = FIELD.lower(), TIMEOUT_FIELD.lower(), "cache-control"
READ_FIELDS = frozenset({*CREDENTIAL_FIELDS, _KEY, _TIMEOUT, _CACHE_CONTROL})
"""The headers, or keys of metadata, that mean something here."""


class _RefusedError(Exception):
    """Ends a call with a problem that is no error of the tree.

    Attributes:
        problem: the document that tells it.
        headers: what goes with it.
    """

    def __init__(
        self, status: HTTPStatus, detail: str, *, headers: Mapping[str, str] | None = None, **others: Any
    ) -> None:
        super().__init__(detail)
        self.problem = problem_details(status, detail, **others)
        self.headers = headers or {}


@dataclass(slots=True, kw_only=True)
class Incoming:
    """A call on its way in.

    Attributes:
        operation: its row of the table; where there is none, the verbs that its path knows.
        fields: what came beside its body, names in lower case, those of `READ_FIELDS` alone.
        streams: it has many messages, each of which has the deadline for itself.
        call: whose it is, once that is known; None where anybody may call.
        seconds: how long the work on it may take; None for as long as its caller likes.
        key: the idempotency key of a write, or None.
        replayed: it was answered as it had been before by that key.
    """

    operation: Operation | frozenset[str]
    fields: Iterable[tuple[str, str]]
    streams: bool = False
    context: RequestContext | None = None
    seconds: float | None = None
    key: str | None = None
    replayed: bool = False

    @property
    def quota(self) -> Quota | None:
        """What is left of the caller's allowance, where there is one."""
        quota = None if self.context is None else self.context.notes.get(_QUOTA)
        return quota if isinstance(quota, Quota) else None


class Pipeline:
    """Lets calls in, or refuses them.

    Args:
        gate: what the steps ask.
        longest_s: how long the work on any call may take.
    """

    def __init__(self, services: Services, *, longest_s: float) -> None:
        self._services = services
        self._longest_s = longest_s

    @asynccontextmanager
    async def entered(self, incoming: Incoming) -> AsyncIterator[Incoming]:
        """Pass the steps before the handler; inside, `current_context()` is the call, unless anybody may make it.

        Raises:
            SuperAdvancedAgentsError: a step refused it.
            _RefusedError: there is no such operation, or the time was over.
        """
        operation = incoming.operation
        async with self._services.admission.enter(permit_of(operation)):
            sent: dict[str, list[str]] = {}
            for name, value in incoming.fields:
                sent.setdefault(name, []).append(value)
            if isinstance(operation, Operation) and operation.public:
                incoming.seconds = self._seconds(operation, sent)
                async with _deadline(incoming):
                    yield incoming
                return
            context = incoming.context = await self._authenticated(operation, sent)
            assert isinstance(operation, Operation)
            await self._charge(context)
            incoming.seconds = self._seconds(operation, sent)
            incoming.key = _key(operation, sent)
            if asks_for_fresh(",".join(sent.get(_CACHE_CONTROL, ()))):
                context.notes[NO_CACHE] = True
            with active_context(context):
                async with _deadline(incoming):
                    yield incoming

    async def reply_once(self, key: str, asked: Iterable[bytes], make: Callable[[], Awaitable[Reply]]) -> Reply:
        """Answer a write by its key: as it was answered before, or by what `make` does now.

        Raises:
            _RefusedError: the first request of that key is still at work.
        """
        reply = await self._services.idempotency.areply(key, digest_of(*asked), make)
        if reply is None:
            detail = f"the first request of this {FIELD} is still being carried out; try again later"
            raise _RefusedError(HTTPStatus.CONFLICT, detail, headers={"Retry-After": "1"})
        return reply

    async def _authenticated(self, operation: Operation | frozenset[str], sent: dict[str, list[str]]) -> RequestContext:
        for name in CREDENTIAL_FIELDS:
            if len(sent.get(name, ())) > 1:
                raise AuthenticationError(f"{name!r} was sent twice", hint="send one credential")
        authorization, api_key = (sent.get(name, [None])[0] for name in CREDENTIAL_FIELDS)
        principal = await self._services.authenticator.authenticate(authorization=authorization, api_key=api_key)
        if not isinstance(operation, Operation):  # told to those with a credential alone
            status = HTTPStatus.METHOD_NOT_ALLOWED if operation else HTTPStatus.NOT_FOUND
            headers = {"Allow": ", ".join(sorted(operation))} if operation else None
            raise _RefusedError(status, status.phrase, headers=headers)
        if operation.access is not None:
            principal.require(operation.access)
        return RequestContext(principal=principal, limiter=self._services.limiter)

    async def _charge(self, context: RequestContext) -> None:
        limiter = self._services.limiter
        try:
            context.notes[_QUOTA] = await limiter.charge(context.principal, 1)
        except RateLimitedError:
            context.notes[_QUOTA] = await limiter.charge(context.principal, 0)
            raise

    def _seconds(self, operation: Operation, sent: dict[str, list[str]]) -> float | None:
        if not operation.bounded:
            return None
        asked = sent.get(_TIMEOUT)
        return self._longest_s if asked is None else min(self._longest_s, _checked_seconds(asked[0]))


def problem_and_headers(error: SuperAdvancedAgentsError | _RefusedError) -> tuple[dict[str, JSONValue], dict[str, str]]:
    """Return the document that tells a refusal or failure, and the headers beside it."""
    if isinstance(error, _RefusedError):
        return error.problem, dict(error.headers)
    return problem_of(error), dict(retry_after(error))


@asynccontextmanager
async def _deadline(incoming: Incoming) -> AsyncIterator[None]:
    deadline = asyncio.timeout(None if incoming.streams else incoming.seconds)
    try:
        async with deadline:
            yield
    except TimeoutError:
        if not deadline.expired():
            raise
        raise _RefusedError(
            HTTPStatus.GATEWAY_TIMEOUT,
            f"the request took longer than {incoming.seconds:g} s and was cancelled ({TIMEOUT_FIELD})",
            name="deadline-exceeded",
            title="Deadline exceeded",
        ) from None


def _checked_seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidInputError(f"{TIMEOUT_FIELD} is not a number of seconds above 0", field=TIMEOUT_FIELD)
    return seconds


def _key(operation: Operation, sent: dict[str, list[str]]) -> str | None:
    """The idempotency key of a write; one that comes with a read is passed by."""
    keys = sent.get(_KEY, ())
    if not operation.keyed:
        if keys and operation.permit is PermitKind.WRITE:
            raise InvalidInputError(f"a call of many messages takes no {FIELD}", field=FIELD)
        return None
    if len(keys) > 1:
        raise InvalidInputError(f"{FIELD} was sent twice", field=FIELD)
    return keys[0] if keys else None
