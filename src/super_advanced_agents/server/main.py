"""Run the server until it is told to stop, then stop in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import uvloop

from super_advanced_agents._runtime.futures import in_thread
from super_advanced_agents.server.app import create_app
from super_advanced_agents.server.auth.bootstrap import acheck_exposure, aensure_admin_key
from super_advanced_agents.server.grpc.server import GRPC_PORT, GrpcServer
from super_advanced_agents.server.http.server import RestServer
from super_advanced_agents.server.services import Services
from super_advanced_agents.server.sockets import address_of, bound
from super_advanced_agents.tenancy.orchestrators import Connect
from super_advanced_agents.tenancy.settings import Settings, checked_certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddresses:
    """Where a server can be reached.

    Attributes:
        rest: the URL of REST, such as `http://127.0.0.1:8000`.
        grpc: the URL of gRPC, such as `grpc://127.0.0.1:50051`; None when it is off.
        admin_key: the key that a first start makes; None later. Nothing else ever shows it.
    """

    rest: str
    grpc: str | None
    admin_key: str | None = field(default=None, repr=False)


async def aserve(
    settings: Settings, *, on_listening: Callable[[ServerAddresses], None], connect: Connect | None = None
) -> None:
    """Serve REST and gRPC in this event loop until SIGTERM or SIGINT, then stop in order.

    Told by SIGTERM, it says at once that it is not ready any more, and goes on taking requests for `linger_s`, so that
    whoever balances load has time to look elsewhere; SIGINT leaves that out. Then the listeners close, what is under
    way has `drain_s` to finish, and the stores are closed. A second signal does not wait.

    Args:
        settings: where to listen, and everything else.
        on_listening: called once both take connections.
        connect: reaches agents of other servers, for orchestrators that are declared with them.

    Raises:
        ConfigurationError: an address is beyond loopback and nothing keeps strangers out, or it is in use; a
            certificate cannot be read.
        StoreLockedError: another process owns the store's folder.
        SuperAdvancedAgentsError: the store cannot be opened.
    """
    await in_thread(lambda: checked_certificate(settings), name="read certificate")
    await acheck_exposure(settings)
    listener = bound(settings.host, settings.port, "--port")
    with contextlib.closing(listener):
        if settings.chosen_grpc_port is not None:  # gRPC binds it itself, and says less when it cannot
            bound(settings.host, settings.chosen_grpc_port, GRPC_PORT).close()
        app = create_app(settings, connect=connect)
        rest = RestServer(app, settings)
        with _told_to_stop() as told:
            async with app.router.lifespan_context(app), GrpcServer(app.state.services, settings) as grpc:
                secure = "s" if settings.tls_cert else ""
                at = ServerAddresses(
                    rest=f"http{secure}://{address_of(listener)}",
                    grpc=None if grpc.address is None else f"grpc{secure}://{grpc.address}",
                    admin_key=await aensure_admin_key(settings, app.state.services.authenticator),
                )
                async with asyncio.TaskGroup() as group:
                    group.create_task(rest.serve(sockets=[listener]))
                    gc.freeze()  # what was imported stays: to look at it again took a sixth of a cached search
                    on_listening(at)
                    await told.once.wait()
                    await _stop(rest, grpc, app.state.services, told, settings)


@dataclass(slots=True)
class StopSignals:
    """What signals have said."""

    once: asyncio.Event
    twice: asyncio.Event
    politely: bool = True

    def hear(self, number: signal.Signals) -> None:
        """A signal has come."""
        if self.once.is_set():
            self.twice.set()
        self.politely = number == signal.SIGTERM
        self.once.set()


@contextlib.contextmanager
def _told_to_stop() -> Iterator[StopSignals]:
    told = StopSignals(asyncio.Event(), asyncio.Event())
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, told.hear, number)
    try:
        yield told
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def _stop(rest: RestServer, grpc: GrpcServer, services: Services, told: StopSignals, settings: Settings) -> None:
    services.draining = True
    rest.hang_up_after_answers()
    if told.politely:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told.twice.wait(), settings.linger_s)
    rest.should_exit = True
    async with asyncio.TaskGroup() as group:
        hurry = group.create_task(_hurry(rest, grpc, told))
        await grpc.stop(settings.drain_s)
        await rest.ended.wait()
        hurry.cancel()


async def _hurry(rest: RestServer, grpc: GrpcServer, told: StopSignals) -> None:
    await told.twice.wait()
    rest.force_exit = True
    await grpc.stop(0)


def serve(
    settings: Settings, *, on_listening: Callable[[ServerAddresses], None], connect: Connect | None = None
) -> None:
    """`aserve` for a process that does nothing else."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(aserve(settings, on_listening=on_listening, connect=connect))
