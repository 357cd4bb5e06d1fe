"""A gate, and the server that stands on it, in the event loop of the test."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress

import grpc
import orjson
import pytest

from super_advanced_agents.protocol.methods import ERROR_METADATA
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.grpc.server import build_server
from super_advanced_agents.server.idempotency.results import Idempotency
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def _poller():
    """The thread and the files that all of `grpc.aio` in a process shares, begun before tests count theirs."""

    async def begin():
        grpc.aio.init_grpc_aio()
        server = grpc.aio.server()
        with suppress(RuntimeError), socket.socket() as taken:  # so that no port of ours stays open
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            server.add_insecure_port(f"127.0.0.1:{taken.getsockname()[1]}")
        await server.stop(0)

    asyncio.run(begin())
    yield
    grpc.aio.shutdown_grpc_aio()


@asynccontextmanager
async def opened_gate(folder, **given):
    """A gate of its own; without keys unless `auth` says so."""
    settings = Settings.load(data_dir=folder, **{"auth": False, **given})
    async with (
        Runtime(settings) as runtime,
        Authenticator(settings) as authenticator,
        Idempotency(folder / "server" / "requests.db") as idempotency,
    ):
        await runtime.aopen()
        await authenticator.aopen()
        yield Services(
            runtime=runtime,
            authenticator=authenticator,
            admission=Admission.of(settings),
            limiter=RateLimiter.of(settings),
            idempotency=idempotency,
        )


class Caller:
    """Calls methods of a server, over a socket."""

    def __init__(self, channel):
        self.channel = channel

    def call(self, method, *requests, frames=None, metadata=(), timeout=30):
        """Begin a call; what it gives is grpc's."""
        kind = f"{'stream' if method.takes_stream else 'unary'}_{'stream' if method.gives_stream else 'unary'}"
        multi = getattr(self.channel, kind)(method.path, response_deserializer=method.reply.FromString)
        sent = list(frames) if frames is not None else [request.SerializeToString() for request in requests]
        return multi(iter(sent) if method.takes_stream else sent[0], metadata=metadata, timeout=timeout)

    async def ask(self, method, *requests, **options):
        """The reply, or the list of them."""
        call = self.call(method, *requests, **options)
        return [each async for each in call] if method.gives_stream else await call

    async def refusal(self, method, *requests, **options):
        """The status, the problem and the trailing metadata of a call that must fail.

        Nothing keeps the error, whose traceback would keep the channel open beyond the test.
        """
        try:
            await self.ask(method, *requests, **options)
        except grpc.aio.AioRpcError as exc:
            trailing = dict(exc.trailing_metadata())
            return exc.code(), orjson.loads(trailing.get(ERROR_METADATA, b"{}")), trailing
        raise AssertionError("the call went well")


@asynccontextmanager
async def listening(services):
    """A caller of a server on a port of its own."""
    server = build_server(services, services.runtime.settings)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Caller(channel)
    finally:
        await server.stop(0)


@pytest.fixture
async def services(tmp_path):
    """Without keys; models are loaded when they are first used."""
    async with opened_gate(tmp_path) as made:
        yield made


@pytest.fixture
async def caller(services):
    """A caller of a server that lets anybody in."""
    async with listening(services) as made:
        yield made
