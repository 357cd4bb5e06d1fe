"""One record of each request, for logs, metrics and traces: its id, operation and outcome."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from time import perf_counter, time

from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.telemetry import Histogram, StageClock, counter, get_logger, histogram, request_id, tracing
from super_advanced_agents.telemetry.tracing import Span
from super_advanced_agents.tenancy.context import Principal
from super_advanced_agents.types import JSONValue

REQUEST_ID = "X-Request-Id"
"""The header, or in lower case the metadata key, of a request's id."""

OBSERVED = "saa.observed"
"""The key of the ASGI scope under which a request's `ObservedRequest` is stored."""

CANCELLED = 499
"""The status, for logs and metrics, of a request whose caller has left."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
_UNKNOWN = "unknown"
_OUTCOMES: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "invalid",
    HTTPStatus.UNAUTHORIZED: "unauthenticated",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "not_found",
    HTTPStatus.REQUEST_TIMEOUT: "timeout",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.TOO_MANY_REQUESTS: "refused",
    CANCELLED: "cancelled",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
    HTTPStatus.GATEWAY_TIMEOUT: "timeout",
    HTTPStatus.INSUFFICIENT_STORAGE: "full",
}

_log = get_logger("server")
_access_log = logging.getLogger("super_advanced_agents.access")


def outcome_of(status: int) -> str:
    """Return the outcome of a request with an HTTP status, such as `ok`, `invalid` or `failed`."""
    if status < HTTPStatus.BAD_REQUEST:
        return "ok"
    return _OUTCOMES.get(status) or ("invalid" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed")


def new_request_id(sent: str | None = None) -> str:
    """Return the id that the caller sent if it is valid, else a new one.

    A valid id has up to 128 letters, digits and characters of `._:/+=@-`, and begins with a letter or a digit.
    """
    if sent is not None and _ID.fullmatch(sent):
        return sent
    return f"{random.getrandbits(64):016x}"  # not a secret; takes a quarter of the time of `secrets`


class _AccessRecord(logging.LogRecord):
    # `Logger.info` and `LogRecord` look for a line of code, a thread and a process, which takes ten times as long.

    def __init__(self, fields: Mapping[str, object]) -> None:
        vars(self).update(_ACCESS_FIELDS, **fields)
        self.created = time()
        self.msecs = self.created % 1 * 1e3


_ACCESS_FIELDS = vars(logging.LogRecord(_access_log.name, logging.INFO, __file__, 0, "server.request", None, None))


@dataclass(slots=True, kw_only=True)
class ObservedRequest:
    """Hold the caller, operation, sizes, times and outcome of one request, for metrics and logs.

    Attributes:
        protocol: `rest`, `grpc` or `mcp`.
        request_id: its id.
        address: the address of the caller's connection.
        operation: the operation; None while it is not known, or there is none.
        principal: the caller; None before it is known, and for public operations.
        status: the HTTP status of the answer, over gRPC the one that its status corresponds to; 0 without an answer.
        request_bytes: the bytes of the body or messages that were sent.
        response_bytes: the bytes of the response's body or messages.
        began: the time of `perf_counter` at which the request arrived.
        clock: the seconds of each stage of the work.
        target: the agent, collection or orchestrator that the request names; empty for none.
        items: the number of records or memories that it stored, changed or deleted; None where none are counted.
        recorded: True once it has an entry in the audit log.
        span: its span; None while traces are off.
    """

    protocol: str
    request_id: str
    address: str = ""
    operation: Operation | None = None
    principal: Principal | None = None
    status: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    began: float = field(default_factory=perf_counter)
    clock: StageClock = field(default_factory=StageClock)
    target: str = ""
    items: int | None = None
    recorded: bool = False
    span: Span | None = None

    @property
    def operation_name(self) -> str:
        """The name of the operation; `unknown` for a request of none."""
        return _UNKNOWN if self.operation is None else self.operation.name

    @property
    def key_id(self) -> str:
        """The id of the caller's credential; empty before the caller is known."""
        return "" if self.principal is None else self.principal.key_id

    def audit_entry(self) -> dict[str, JSONValue]:
        """Return its entry in the audit log: who did what, from where, and how it ended."""
        entry: dict[str, JSONValue] = {
            "tenant": "" if self.principal is None else self.principal.tenant,
            "key_id": self.key_id,
            "from": self.address,
            "protocol": self.protocol,
            "operation": self.operation_name,
            "target": self.target,
            "outcome": outcome_of(self.status),
            "request_id": self.request_id,
        }
        if self.items is not None:
            entry["items"] = self.items
        return entry


class RequestObserver:
    """Count, time, log and trace each request of a server.

    Args:
        access_log: write one line for each request.
        slow_s: the seconds from which on a request without the time of the language model is logged as slow.
        tenants: the tenants whose requests are counted by their names.
    """

    def __init__(self, *, access_log: bool = True, slow_s: float = 2.0, tenants: tuple[str, ...] = ()) -> None:
        self._writes_lines = access_log
        self._slow_s = slow_s
        self._tenants = frozenset(tenants)
        self._seconds: dict[tuple[str, str, str], Histogram] = {}

    @contextmanager
    def observe(self, observed: ObservedRequest, headers: Mapping[str, str]) -> Iterator[None]:
        """Enter a context in which a request is answered; at its end it is counted and logged.

        Args:
            observed: the request; the block fills it in.
            headers: those that name the caller's span.
        """
        if tracing.on:
            observed.span = tracing.begin_server_span(f"{observed.protocol} request", headers)
        error: BaseException | None = None
        try:
            with request_id(observed.request_id, observed.clock):
                yield
        except BaseException as exc:
            error = exc
            raise
        finally:
            self._end(observed, error)

    def note_refused(self, protocol: str, operation: Operation | None, request_id: str) -> None:
        """Count and log a request that was refused before anything was made for it."""
        self._count(
            ObservedRequest(
                protocol=protocol, request_id=request_id, operation=operation, status=HTTPStatus.TOO_MANY_REQUESTS
            )
        )

    def _end(self, observed: ObservedRequest, error: BaseException | None) -> None:
        if not observed.status:
            failed = isinstance(error, Exception)
            observed.status = HTTPStatus.INTERNAL_SERVER_ERROR if failed else CANCELLED
        self._count(observed)
        span = observed.span
        if span is not None:
            span.rename(observed.operation_name)
            span.set(
                saa_protocol=observed.protocol,
                saa_outcome=outcome_of(observed.status),
                http_status=observed.status,
            )
            span.end(error, failed=observed.status >= HTTPStatus.INTERNAL_SERVER_ERROR)

    def _count(self, observed: ObservedRequest) -> None:
        took_s = perf_counter() - observed.began
        outcome = outcome_of(observed.status)
        key = (observed.operation_name, observed.protocol, outcome)
        seconds = self._seconds.get(key)
        if seconds is None:
            operation, protocol, _ = key
            seconds = self._seconds[key] = histogram(
                "request_seconds", operation=operation, protocol=protocol, outcome=outcome
            )
        seconds.observe(took_s)
        if self._tenants and observed.principal is not None and observed.principal.tenant in self._tenants:
            counter("tenant_requests", tenant=observed.principal.tenant, outcome=outcome).add()
        if self._writes_lines and _access_log.isEnabledFor(logging.INFO):
            _access_log.handle(_AccessRecord(_line(observed, outcome, took_s)))
        stages = observed.clock.seconds
        if took_s - stages.get("generate", 0.0) >= self._slow_s and observed.operation is not None:
            times = {f"{name}_ms": round(1e3 * stage_s, 1) for name, stage_s in stages.items()}
            other_ms = round(1e3 * max(0.0, took_s - sum(stages.values())), 1)
            _log.warning("server.slow_request", extra=_line(observed, outcome, took_s) | times | {"other_ms": other_ms})


def _line(observed: ObservedRequest, outcome: str, took_s: float) -> dict[str, object]:
    return {
        "operation": observed.operation_name,
        "protocol": observed.protocol,
        "outcome": outcome,
        "status": int(observed.status),
        "took_ms": round(1e3 * took_s, 2),
        "request_bytes": observed.request_bytes,
        "response_bytes": observed.response_bytes,
        "request_id": observed.request_id,
        "key_id": observed.key_id,
    }
