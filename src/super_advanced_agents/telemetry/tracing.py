"""Traces by OpenTelemetry's API, which is imported once they are turned on.

The SDK, which records and sends spans, is the application's: the server sets one up for `SAA_TRACES_ENDPOINT`, and a
program that has its own calls `use_traces`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Tracer, TracerProvider
    from opentelemetry.trace import Span as ApiSpan
    from opentelemetry.trace import SpanContext as ApiSpanContext

on = False
"""True while spans are made; the code asks it before it does anything else for traces."""

_NAME = "super_advanced_agents"
_MAX_LINKS = 128
"""OpenTelemetry's own limit on the links of a span."""

_tracer: Tracer | None = None


def use_traces(provider: TracerProvider | None = None) -> None:
    """Make spans from now on, in this process.

    Args:
        provider: takes the spans; OpenTelemetry's global provider when None.
    """
    global on, _tracer
    from opentelemetry import trace

    _tracer = trace.get_tracer(_NAME, tracer_provider=provider)
    on = True


def stop_traces() -> None:
    """Make no spans from now on."""
    global on, _tracer
    on, _tracer = False, None


class Span:
    """One span that is the current one of its thread or task until it ends."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: ApiSpan) -> None:
        from opentelemetry import context, trace

        self._span = span
        self._token = context.attach(trace.set_span_in_context(span))

    def set(self, **attributes: str | int | float) -> None:
        """Set attributes; a name's underscores become dots (`http_status` is `http.status`)."""
        for name, value in attributes.items():
            self._span.set_attribute(name.replace("_", "."), value)

    def rename(self, name: str) -> None:
        """Give the span another name."""
        self._span.update_name(name)

    def end(self, error: BaseException | None = None, *, failed: bool = False) -> None:
        """End the span; an error marks it by the name of its class, since its message may name data.

        Args:
            error: the error that ended what the span stands for.
            failed: mark it as failed without an error.
        """
        from opentelemetry import context
        from opentelemetry.trace import Status, StatusCode

        if error is not None or failed:
            if error is not None:
                self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(Status(StatusCode.ERROR))
        context.detach(self._token)
        self._span.end()


def begin_span(name: str, *, cause: str | None = None) -> Span | None:
    """Begin a span inside the current one, and make it current; None while traces are off.

    Args:
        name: the name of the span.
        cause: an earlier span to link to, as `current_traceparent` returned it; None for no link.
    """
    tracer = _tracer
    if tracer is None:
        return None
    links = [] if cause is None else _links_to(cause)
    return Span(tracer.start_span(name, links=links, record_exception=False, set_status_on_exception=False))


def _links_to(cause: str) -> list[Link]:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    found = trace.get_current_span(TraceContextTextMapPropagator().extract({"traceparent": cause})).get_span_context()
    return [trace.Link(found)] if found.is_valid else []


def begin_server_span(name: str, headers: Mapping[str, str]) -> Span | None:
    """Begin the span of a received request, inside that of its caller if its headers name one.

    Args:
        name: the name of the span.
        headers: the headers of the request, or some; `traceparent` and `tracestate` are read (W3C Trace Context).
    """
    tracer = _tracer
    if tracer is None:
        return None
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    caller = TraceContextTextMapPropagator().extract(headers)
    return Span(tracer.start_span(name, context=caller, kind=SpanKind.SERVER))


def begin_client_span(name: str) -> Span | None:
    """Begin the span of a request to another server; None while traces are off."""
    tracer = _tracer
    if tracer is None:
        return None
    from opentelemetry.trace import SpanKind

    return Span(tracer.start_span(name, kind=SpanKind.CLIENT))


def trace_headers() -> dict[str, str]:
    """Return the headers that name the current span; none while traces are off."""
    if not on:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers


def current_traceparent() -> str | None:
    """Return the current span as W3C's `traceparent`, to be stored; None while traces are off."""
    return trace_headers().get("traceparent")


def current_trace() -> Context | None:
    """Return the name of the current span, for a batch that runs elsewhere, or None."""
    if not on:
        return None
    from opentelemetry import context

    return context.get_current()


def begin_batch_span(name: str, callers: Sequence[Context | None]) -> Span | None:
    """Begin the span of a batch, inside that of its first recorded caller and with links to all.

    Args:
        name: the name of the span.
        callers: what `current_trace` returned for each item of the batch.
    """
    tracer = _tracer
    if tracer is None:
        return None
    from opentelemetry import trace

    spans: dict[int, ApiSpanContext] = {}
    parent: Context | None = None
    for caller in callers:
        found = None if caller is None else trace.get_current_span(caller).get_span_context()
        if found is not None and found.is_valid:
            spans[found.span_id] = found
            if parent is None and found.trace_flags.sampled:
                parent = caller
    links = [trace.Link(found) for found in list(spans.values())[:_MAX_LINKS]]
    span = tracer.start_span(name, context=parent, links=links)
    span.set_attribute("batch.items", len(callers))
    return Span(span)
