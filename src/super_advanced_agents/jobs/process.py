"""The process of `saa worker`: a worker with the store and models, until a signal stops it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.jobs.opening import opened_jobs, running_worker
from super_advanced_agents.jobs.worker import Worker
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings

_HEALTH_TIMEOUT_S = 5.0
_STOPS = (signal.SIGTERM, signal.SIGINT)


async def arun_worker(
    settings: Settings, *, on_running: Callable[[int | None], None], health_port: int | None = None
) -> None:
    """Run background jobs in this event loop until SIGTERM or SIGINT.

    After the signal no job begins; those that run have `drain_s` seconds to end, and the rest are handed back with
    their finished steps. A second signal ends the wait.

    Args:
        settings: the store, the models, the place of the jobs, and the queues.
        on_running: called with the port of the health check, once jobs run.
        health_port: the port on loopback that answers `GET /healthz`; 0 for a free one, None for none.

    Raises:
        ConfigurationError: no queues are set, or the port is in use.
        StoreLockedError: another process owns the data folder.
    """
    if not settings.job_queues:
        raise ConfigurationError("a worker needs queues", hint="set SAA_JOB_QUEUES, such as default=8,bulk=1")
    with _stop_event() as stop:
        async with Runtime(settings) as runtime:
            await runtime.aopen()
            loading = asyncio.create_task(runtime.akeep_loading(), name="load models")
            try:
                async with (
                    opened_jobs(settings, runtime=runtime) as jobs,
                    running_worker(jobs, settings) as worker,
                    _health_check(worker, health_port) as port,
                ):
                    on_running(port)
                    await stop.wait()
            finally:
                loading.cancel()
                await asyncio.gather(loading, return_exceptions=True)


@contextmanager
def _stop_event() -> Iterator[asyncio.Event]:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in _STOPS:
        loop.add_signal_handler(number, stop.set)
    try:
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
