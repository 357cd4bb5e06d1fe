"""OpenTelemetry's SDK, set up for a server that sends its traces somewhere."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.telemetry import tracing
from super_advanced_agents.tenancy.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_SERVICE = "super-advanced-agents"


@asynccontextmanager
async def exported_traces(settings: Settings) -> AsyncIterator[None]:
    """Enter a context that sends this process's spans to the endpoint of the settings, if any.

    The service's name is `super-advanced-agents`, or that of `OTEL_SERVICE_NAME`. What waits is bounded, and what
    cannot be sent is dropped.

    Raises:
        ConfigurationError: the extra `traces` is not installed.
    """
    if settings.traces_endpoint is None:
        yield
        return
    endpoint = settings.traces_endpoint.get_secret_value()
    provider = await in_thread(lambda: _provider(endpoint, settings.traces_sampled), name="import opentelemetry")
    tracing.use_traces(provider)
    try:
        yield
    finally:
        tracing.stop_traces()
        await in_thread(provider.shutdown, name="send traces")


def _provider(endpoint: str, sampled: float) -> TracerProvider:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError as exc:
        raise ConfigurationError(
            "traces need OpenTelemetry's SDK and exporter",
            hint="install the extra: pip install 'super-advanced-agents[traces]'",
        ) from exc
    attributes = {
        "service.name": os.environ.get("OTEL_SERVICE_NAME", _SERVICE),
        "service.version": version("super-advanced-agents"),
    }
    provider = TracerProvider(resource=Resource.create(attributes), sampler=ParentBased(TraceIdRatioBased(sampled)))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider
