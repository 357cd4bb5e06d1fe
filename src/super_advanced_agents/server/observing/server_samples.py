"""The metrics that only a server has: its readiness, its limits and what is sent."""

from __future__ import annotations

from collections.abc import Iterator

from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.server.auth.certificates import expiry_of
from super_advanced_agents.server.observing.metrics import Sample
from super_advanced_agents.server.services import Services


def server_samples(services: Services) -> Iterator[Sample]:
    """Yield the readiness of a server, the use of its limits, and its open streams and answers."""
    yield Sample("ready", int(services.ready))
    yield Sample("draining", int(services.draining))
    yield Sample("storage_lost", int(services.storage_lost))
    admission = services.admission
    for kind in PermitKind:
        pool, labels = admission.pool(kind), {"kind": kind.value}
        yield Sample("permits", pool.capacity, labels)
        yield Sample("permits_in_use", pool.in_flight, labels)
        yield Sample("permits_waiting", pool.waiting, labels)
        yield Sample("permits_refused", admission.refused[kind], labels)
    yield Sample("streams_open", admission.streams.in_flight)
    yield Sample("request_room_bytes", admission.request_bytes.in_flight)
    yield Sample("answers_being_sent_bytes", services.sending.held_bytes)
    certificate = services.runtime.settings.tls_cert
    if certificate is not None:
        yield Sample("certificate_expires_timestamp_seconds", expiry_of(certificate))
