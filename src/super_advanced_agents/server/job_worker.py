"""The process of `saa worker`: background jobs, its health and its metrics, until a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.jobs.opening import opened_jobs, running_worker
from super_advanced_agents.jobs.worker import Worker
from super_advanced_agents.server.audit_log import AuditLog
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.auth.bootstrap import acheck_addresses, aput_given_keys
from super_advanced_agents.server.auth.certificates import check_certificate
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.logs import level_signals
from super_advanced_agents.server.observing.background_tasks import background_tasks
from super_advanced_agents.server.observing.exporter import metrics_server
from super_advanced_agents.server.observing.metrics import Metrics, Sample
from super_advanced_agents.server.observing.traces import exported_traces
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings

_HEALTH_TIMEOUT_S = 5.0
_STOPS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerAddresses:
    """Hold where a running worker shows its health and its metrics.

    Attributes:
        health_port: the port of `GET /healthz` on loopback; None without one.
        metrics: the URL of the metrics; None without a port of their own.
    """

    health_port: int | None
    metrics: str | None


async def arun_worker(
    settings: Settings, *, on_running: Callable[[WorkerAddresses], None], health_port: int | None = None
) -> None:
    """Run background jobs in this event loop until SIGTERM or SIGINT.

    After the signal no job begins; those that run have `drain_s` seconds to end, and the rest are handed back with
    their finished steps.

    Args:
        settings: the store, the models, the place of the jobs, the queues, and where metrics and traces go.
        on_running: called once jobs run.
        health_port: the port on loopback that answers `GET /healthz`; 0 for a free one, None for none.

    Raises:
        ConfigurationError: no queues are set, a port is in use, or metrics would be served beyond loopback to anybody.
        StoreLockedError: another process owns the data folder.
    """
    if not settings.job_queues:
        raise ConfigurationError("a worker needs queues", hint="set SAA_JOB_QUEUES, such as default=8,bulk=1")
    if settings.metrics_port is not None:
        await in_thread(lambda: check_certificate(settings), name="read certificate")
        await aput_given_keys(settings)
        await acheck_addresses(settings, settings.metrics_host)
    with _stop_event() as stop:
        async with exported_traces(settings), AuditLog.of(settings) as audit, Runtime(settings) as runtime:
            await runtime.aopen()
            async with (
                background_tasks(runtime, audit),
                opened_jobs(settings, runtime=runtime) as jobs,
                running_worker(jobs, settings) as worker,
                _health_check(worker, health_port) as port,
            ):
                assert worker is not None
                metrics = Metrics(runtime, jobs, partial(_samples, worker, stop))
                async with _metrics(metrics, runtime) as url:
                    on_running(WorkerAddresses(health_port=port, metrics=url))
                    await stop.wait()


def _samples(worker: Worker, stop: asyncio.Event) -> Iterator[Sample]:
    yield Sample("ready", int(worker.healthy))
    yield Sample("draining", int(stop.is_set()))


@asynccontextmanager
async def _metrics(metrics: Metrics, runtime: Runtime) -> AsyncIterator[str | None]:
    settings = runtime.settings
    if settings.metrics_port is None:
        yield None
        return
    async with Authenticator(settings, runtime.state) as authenticator:
        await authenticator.aopen()
        async with metrics_server(metrics, settings, authenticator, Admission.of(settings)) as url:
            yield url


@contextmanager
def _stop_event() -> Iterator[asyncio.Event]:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in _STOPS:
        loop.add_signal_handler(number, stop.set)
    try:
        with level_signals():
            yield stop
    finally:
        for number in _STOPS:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _health_check(worker: Worker | None, port: int | None) -> AsyncIterator[int | None]:
    if port is None or worker is None:
        yield None
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEALTH_TIMEOUT_S):
                line = (await reader.readline()).split()
                found = line[:2] == [b"GET", b"/healthz"]
                status = b"404 Not Found" if not found else b"200 OK" if worker.healthy else b"503 Service Unavailable"
                body = b'{"running": %d}' % worker.running
                head = (
                    b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
                )
                writer.write(head % (status, len(body)) + body)
                await writer.drain()
        except (OSError, TimeoutError, ValueError):
            pass
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(answer, "127.0.0.1", port, limit=8192)
    except OSError as exc:
        raise ConfigurationError(
            f"the port {port} cannot be used: {exc.strerror}", hint="use another --health-port"
        ) from exc
    async with server:
        yield int(server.sockets[0].getsockname()[1])
