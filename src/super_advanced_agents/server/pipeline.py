"""The checks that every REST and gRPC request passes before its handler, in a fixed order.

`Pipeline.check` needs only the headers: authentication, scope, overload of the tenant, rate limit, then the values of
further headers. The body or message is received next, and then `Pipeline.work` starts the deadline and takes a permit,
which is held only while the server works. The host of a REST request is checked before (`middleware.hosts`), against
DNS rebinding in browsers; a gRPC client is no browser and needs no such check.
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
from super_advanced_agents.server.idempotency.results import IDEMPOTENCY_FIELD, Reply, digest_of
from super_advanced_agents.server.limits.admission import NOBODY, overloaded_error
from super_advanced_agents.server.limits.rate_limit import Quota
from super_advanced_agents.server.limits.sending import AnswerReservation
from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.context import Access, Principal, RequestContext, active_context, current_context
from super_advanced_agents.tenancy.result_cache import NO_CACHE, asks_for_fresh
from super_advanced_agents.types import JSONValue

TIMEOUT_FIELD = "Request-Timeout"
CREDENTIAL_FIELDS = ("authorization", "x-api-key")
_QUOTA = "quota"
_BLIND = b"without memories:read"
_KEY, _TIMEOUT, _CACHE_CONTROL = IDEMPOTENCY_FIELD.lower(), TIMEOUT_FIELD.lower(), "cache-control"
READ_FIELDS = frozenset({*CREDENTIAL_FIELDS, _KEY, _TIMEOUT, _CACHE_CONTROL})
"""The request headers, or gRPC metadata keys, that the pipeline reads; names in lower case."""


class _RefusedError(Exception):
    """End a request with a status for which `errors` has no class, and a problem document.

    Attributes:
        problem: the problem document of the response (RFC 9457).
        headers: the response headers that belong to it.
    """

    def __init__(
        self, status: HTTPStatus, detail: str, *, headers: Mapping[str, str] | None = None, **others: Any
    ) -> None:
        super().__init__(detail)
        self.problem = problem_details(status, detail, **others)
        self.headers = headers or {}


@dataclass(slots=True, kw_only=True)
class IncomingRequest:
    """Hold a REST or gRPC request's operation and headers, and the results of its checks.

    Attributes:
        operation: the operation; if there is none, the verbs that the path allows.
        fields: the headers or metadata named in `READ_FIELDS`, names in lower case.
        streams: True for a stream of messages, in which the deadline applies to each message, and the handler takes a
            permit for each message that it works on.
        principal: the caller, once it is authenticated, whether or not it may do this; None for public operations.
        context: the caller and its limits, set once the caller is authenticated; None for public operations.
        reservation: the bytes reserved for a long answer, during the work; None for public operations.
        timeout_s: the longest time for the work on it, in seconds; None for no limit.
        key: the idempotency key of a write, or None.
        replayed: True if the reply was stored by an earlier request with that key.
        sent_bytes: the bytes of the messages that a gRPC call was answered with.
    """

    operation: Operation | frozenset[str]
    fields: Iterable[tuple[str, str]]
    streams: bool = False
    principal: Principal | None = None
    context: RequestContext | None = None
    reservation: AnswerReservation | None = None
    timeout_s: float | None = None
    key: str | None = None
    replayed: bool = False
    sent_bytes: int = 0

    @property
    def quota(self) -> Quota | None:
        """The units left of the caller's rate limit; None without rate limits."""
        quota = None if self.context is None else self.context.notes.get(_QUOTA)
        return quota if isinstance(quota, Quota) else None

    @property
    def tenant(self) -> str:
        """The tenant of the caller; `NOBODY` for public operations."""
        return NOBODY if self.context is None else self.context.principal.tenant


class Pipeline:
    """Check each request before its handler: credential, scope, rate limit and others.

    Args:
        services: the objects that do the checks.
        max_timeout_s: the longest time for the work on one request, in seconds.
        search_s: the longest time of work for one search, in seconds; None for no limit.
        refresh: reads what other servers have changed, before the work on each request; None where there is one.

    Attributes:
        admission: the permits, and the bound on the bytes of requests.
    """

    def __init__(
        self,
        services: Services,
        *,
        max_timeout_s: float,
        search_s: float | None = None,
        refresh: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.admission = services.admission
        self._services = services
        self._max_timeout_s = max_timeout_s
        self._search_s = search_s
        self._refresh = refresh

    async def check(self, incoming: IncomingRequest) -> None:
        """Check the headers of a request, and set its context, timeout and key.

        Nothing of its body or message needs to have arrived.

        Raises:
            SuperAdvancedAgentsError: a check refused the request.
            _RefusedError: there is no such operation.
        """
        operation = incoming.operation
        fields: dict[str, list[str]] = {}
        for name, value in incoming.fields:
            fields.setdefault(name, []).append(value)
        if isinstance(operation, Operation) and operation.public:
            incoming.timeout_s = self._timeout_s(operation, fields)
            return
        context = incoming.context = await self._authenticate(incoming, fields)
        assert isinstance(operation, Operation)
        if self._services.audit is not None:
            self._services.audit.check(operation)
        if not incoming.streams and self.admission.refuses(operation.permit, context.principal.tenant):
            assert operation.permit is not None
            raise overloaded_error(operation.permit)  # at once, so that a refusal costs no unit and no body
        await self._charge(context)
        incoming.timeout_s = self._timeout_s(operation, fields)
        incoming.key = _idempotency_key(operation, fields)
        if asks_for_fresh(",".join(fields.get(_CACHE_CONTROL, ()))):
            context.notes[NO_CACHE] = True

    @asynccontextmanager
    async def work(self, incoming: IncomingRequest) -> AsyncIterator[None]:
        """Enter a context with the permit, the reservation and the deadline of an arrived request.

        Inside the block, `current_context()` returns the context of the request, unless the operation is public.
        Cancelling the request releases its permit. A stream holds none by itself.

        Raises:
            OverloadedError: no permit came free.
            _RefusedError: the deadline passed.
        """
        operation, context = incoming.operation, incoming.context
        assert isinstance(operation, Operation)
        kind = None if incoming.streams else operation.permit
        async with _deadline(incoming), self.admission.enter(kind, incoming.tenant) as permit:
            if context is None:
                yield
                return
            if self._refresh is not None:
                await self._refresh()
            await self._services.pacer.begin(incoming.tenant)
            context.permit = permit
            reservation = self._services.sending.reservation(incoming.tenant)
            incoming.reservation = context.reservation = reservation
            try:
                with active_context(context):
                    yield
            finally:
                reservation.release()

    async def reply_once(self, key: str, request: Iterable[bytes], make: Callable[[], Awaitable[Reply]]) -> Reply:
        """Return the reply stored for an idempotency key, or run the write and store its reply.

        Args:
            key: the idempotency key, as it was sent.
            request: the parts that identify the request, such as its method, path and body.
            make: carries out the write and returns its reply.

        Raises:
            _RefusedError: the first request with this key has not finished.
            InvalidInputError: the key is not valid, or was used for another request.
        """
        # A reply that was stored for a key with `memories:read` must not be replayed to a key without.
        blind = () if current_context().principal.allows(Access.READ) else (_BLIND,)
        reply = await self._services.idempotency.areply(key, digest_of(*request, *blind), make)
        if reply is None:
            detail = f"the first request with this {IDEMPOTENCY_FIELD} is still running; try again later"
            raise _RefusedError(HTTPStatus.CONFLICT, detail, headers={"Retry-After": "1"})
        return reply

    async def _authenticate(self, incoming: IncomingRequest, fields: dict[str, list[str]]) -> RequestContext:
        operation = incoming.operation
        for name in CREDENTIAL_FIELDS:
            if len(fields.get(name, ())) > 1:
                raise AuthenticationError(f"{name!r} was sent twice", hint="send one credential")
        authorization, api_key = (fields.get(name, [None])[0] for name in CREDENTIAL_FIELDS)
        principal = await self._services.authenticator.authenticate(authorization=authorization, api_key=api_key)
        incoming.principal = principal
        credential = next((value for name, value in incoming.fields if name in CREDENTIAL_FIELDS), "")
        self.admission.remember_caller(credential, principal.tenant)
        if not isinstance(operation, Operation):  # only after authentication: strangers learn nothing about paths
            status = HTTPStatus.METHOD_NOT_ALLOWED if operation else HTTPStatus.NOT_FOUND
            headers = {"Allow": ", ".join(sorted(operation))} if operation else None
            raise _RefusedError(status, status.phrase, headers=headers)
        for access in operation.access:
            principal.require(access)
        return RequestContext(principal=principal, limiter=self._services.limiter, search_s=self._search_s)

    async def _charge(self, context: RequestContext) -> None:
        limiter = self._services.limiter
        try:
            context.notes[_QUOTA] = await limiter.charge(context.principal, 1)
        except RateLimitedError:
            context.notes[_QUOTA] = await limiter.charge(context.principal, 0)
            raise

    def _timeout_s(self, operation: Operation, fields: dict[str, list[str]]) -> float | None:
        if not operation.bounded:
            return None
        values = fields.get(_TIMEOUT)
        return self._max_timeout_s if values is None else min(self._max_timeout_s, _parse_timeout(values[0]))


def problem_and_headers(error: SuperAdvancedAgentsError | _RefusedError) -> tuple[dict[str, JSONValue], dict[str, str]]:
    """Return the problem document (RFC 9457) and the response headers of an error."""
    if isinstance(error, _RefusedError):
        return error.problem, dict(error.headers)
    return problem_of(error), dict(retry_after(error))


@asynccontextmanager
async def _deadline(incoming: IncomingRequest) -> AsyncIterator[None]:
    deadline = asyncio.timeout(None if incoming.streams else incoming.timeout_s)
    try:
        async with deadline:
            yield
    except TimeoutError:
        if not deadline.expired():
            raise
        raise _RefusedError(
            HTTPStatus.GATEWAY_TIMEOUT,
            f"the request took longer than {incoming.timeout_s:g} s and was cancelled ({TIMEOUT_FIELD})",
            name="deadline-exceeded",
            title="Deadline exceeded",
        ) from None


def _parse_timeout(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidInputError(f"{TIMEOUT_FIELD} is not a number of seconds above 0", field=TIMEOUT_FIELD)
    return seconds


def _idempotency_key(operation: Operation, fields: dict[str, list[str]]) -> str | None:
    # A read is safe to repeat, so its key is ignored.
    keys = fields.get(_KEY, ())
    if not operation.keyed:
        if keys and operation.permit is PermitKind.WRITE:
            raise InvalidInputError(f"a stream of messages takes no {IDEMPOTENCY_FIELD}", field=IDEMPOTENCY_FIELD)
        return None
    if len(keys) > 1:
        raise InvalidInputError(f"{IDEMPOTENCY_FIELD} was sent twice", field=IDEMPOTENCY_FIELD)
    return keys[0] if keys else None
