"""The server process: REST and gRPC in one event loop until a signal stops it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import uvloop

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.server.app import create_app
from super_advanced_agents.server.auth.bootstrap import acheck_addresses, aensure_admin_key, aput_given_keys
from super_advanced_agents.server.auth.certificates import check_certificate
from super_advanced_agents.server.descriptors import fitted, raised_limit
from super_advanced_agents.server.grpc.server import GRPC_PORT, GrpcServer
from super_advanced_agents.server.http.listener.server import RestServer
from super_advanced_agents.server.logs import level_signals
from super_advanced_agents.server.observing.exporter import metrics_server
from super_advanced_agents.server.observing.traces import exported_traces
from super_advanced_agents.server.services import Services
from super_advanced_agents.server.sockets import address_of, bind_listener
from super_advanced_agents.tenancy.data_folder.server_address import noted_address
from super_advanced_agents.tenancy.orchestrators import Connect
from super_advanced_agents.tenancy.settings import Settings

_GC_THRESHOLDS = 700, 10, 10
"""Python's own: with fewer and longer collections, requests would wait longer for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddresses:
    """Hold a running server's REST and gRPC URLs, and its new admin key at the first start.

    Attributes:
        rest: the URL of REST, such as `http://127.0.0.1:8000`.
        grpc: the URL of gRPC, such as `grpc://127.0.0.1:50051`; None when gRPC is off.
        metrics: the URL of the metrics on a port of their own; None without one.
        admin_key: the API key that was created at the first start, which is never shown again; None at later starts.
    """

    rest: str
    grpc: str | None
    metrics: str | None = None
    admin_key: str | None = field(default=None, repr=False)


async def aserve(
    settings: Settings, *, on_listening: Callable[[ServerAddresses], None], connect: Connect | None = None
) -> None:
    """Serve REST and gRPC in this event loop until SIGTERM or SIGINT, then shut down.

    After SIGTERM the server reports at once that it is not ready, and accepts requests for another `linger_s` seconds,
    so that load balancers have time to remove it; SIGINT skips this step. Then the listeners close, running requests
    have `drain_s` seconds to finish, and the stores are closed. A second signal ends both waits.

    Args:
        settings: the addresses, folders, models and limits of the server.
        on_listening: called once REST and gRPC accept connections.
        connect: opens a connection to an agent of another server, for orchestrators that are declared with one.

    Raises:
        ConfigurationError: an address is not loopback and callers would not be authenticated, or it is in use, or a
            certificate cannot be read.
        StoreLockedError: another process owns the store's folder.
        SuperAdvancedAgentsError: the store cannot be opened.
    """
    settings = fitted(settings, raised_limit())
    await in_thread(lambda: check_certificate(settings), name="read certificate")
    await aput_given_keys(settings)
    await acheck_addresses(settings, settings.host, *([] if settings.metrics_port is None else [settings.metrics_host]))
    listener = bind_listener(settings.host, settings.port, "--port", shared=settings.reuse_port)
    with contextlib.closing(listener):
        if settings.chosen_grpc_port is not None:  # tried here first: gRPC's own error does not say why it failed
            shared = settings.reuse_port
            bind_listener(
                settings.host, settings.chosen_grpc_port, GRPC_PORT, shared=shared, listens=not shared
            ).close()
        app = create_app(settings, connect=connect)
        rest = RestServer(app, settings)
        with _stop_signals() as signals:
            async with (
                exported_traces(settings),
                app.router.lifespan_context(app),
                GrpcServer(app.state.services, settings) as grpc,
                metrics_server(
                    app.state.metrics, settings, app.state.services.authenticator, app.state.admission
                ) as metrics,
            ):
                secure = "s" if settings.tls_cert else ""
                addresses = ServerAddresses(
                    rest=f"http{secure}://{address_of(listener)}",
                    grpc=None if grpc.address is None else f"grpc{secure}://{grpc.address}",
                    metrics=metrics,
                    admin_key=await aensure_admin_key(settings, app.state.services.authenticator),
                )
                async with asyncio.TaskGroup() as group:
                    group.create_task(rest.serve(sockets=[listener]))
                    gc.set_threshold(*_GC_THRESHOLDS)  # the command line raises them while modules are loaded
                    gc.freeze()  # modules are never collected: scanning them took a sixth of a cached search's time
                    with noted_address(settings.data_dir, addresses.rest):
                        on_listening(addresses)
                        await signals.stop.wait()
                    await _stop(rest, grpc, app.state.services, signals, settings)


@dataclass(slots=True)
class StopSignals:
    """Record the stop signals (SIGTERM, SIGINT) that the process has received.

    Attributes:
        stop: set by the first signal.
        force: set by the second signal, which ends all waiting.
        linger: True after SIGTERM: the server accepts requests for `linger_s` seconds before its listeners close.
    """

    stop: asyncio.Event
    force: asyncio.Event
    linger: bool = True

    def receive(self, number: signal.Signals) -> None:
        """Record a stop signal: the first begins a graceful shutdown, the second ends its waits."""
        if self.stop.is_set():
            self.force.set()
        self.linger = number == signal.SIGTERM
        self.stop.set()


@contextlib.contextmanager
def _stop_signals() -> Iterator[StopSignals]:
    signals = StopSignals(asyncio.Event(), asyncio.Event())
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, signals.receive, number)
    try:
        with level_signals():
            yield signals
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _stop(
    rest: RestServer, grpc: GrpcServer, services: Services, signals: StopSignals, settings: Settings
) -> None:
    services.draining = True
    rest.disable_keep_alive()
    if signals.linger:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(signals.force.wait(), settings.linger_s)
    rest.should_exit = True
    async with asyncio.TaskGroup() as group:
        forcing = group.create_task(_force_stop(rest, grpc, signals))
        await grpc.stop(settings.drain_s)
        await rest.ended.wait()
        forcing.cancel()


async def _force_stop(rest: RestServer, grpc: GrpcServer, signals: StopSignals) -> None:
    await signals.force.wait()
    rest.force_exit = True
    await grpc.stop(0)


def serve(
    settings: Settings, *, on_listening: Callable[[ServerAddresses], None], connect: Connect | None = None
) -> None:
    """Serve REST and gRPC in a new uvloop event loop, and return when a signal has stopped it.

    Args:
        settings: the addresses, folders, models and limits of the server.
        on_listening: called once REST and gRPC accept connections.
        connect: opens a connection to an agent of another server, for orchestrators that are declared with one.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(aserve(settings, on_listening=on_listening, connect=connect))
