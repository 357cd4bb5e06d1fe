"""The services of a server, and a gRPC server with them, in the event loop of the test."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress

import grpc
import orjson
import pytest

from super_advanced_agents.protocol.methods import ERROR_METADATA
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.grpc.server import GrpcServer
from super_advanced_agents.server.idempotency.results import Idempotency
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.limits.rate_limit import RateLimiter
from super_advanced_agents.server.services import Services
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def _shared_grpc_threads():
    """Start the thread and open the files that `grpc.aio` shares, before tests count theirs."""

    async def start():
        grpc.aio.init_grpc_aio()
        server = grpc.aio.server()
        with suppress(RuntimeError), socket.socket() as taken:  # so that no port of ours stays open
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            server.add_insecure_port(f"127.0.0.1:{taken.getsockname()[1]}")
        await server.stop(0)

    asyncio.run(start())
    yield
    grpc.aio.shutdown_grpc_aio()


@asynccontextmanager
async def opened_services(folder, **options):
    """Open services of their own; without authentication unless `auth` is given."""
    settings = Settings.load(data_dir=folder, **{"auth": False, "port": 0, **options})
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
    """Call methods of a server over a socket."""

    def __init__(self, channel, address):
        self.channel = channel
        self.address = address

    def call(self, method, *requests, frames=None, metadata=(), timeout=30):
        """Begin a call, and return grpc's object for it."""
        kind = f"{'stream' if method.takes_stream else 'unary'}_{'stream' if method.gives_stream else 'unary'}"
        multi = getattr(self.channel, kind)(method.path, response_deserializer=method.reply.FromString)
        sent = list(frames) if frames is not None else [request.SerializeToString() for request in requests]
        return multi(iter(sent) if method.takes_stream else sent[0], metadata=metadata, timeout=timeout)

    async def invoke(self, method, *requests, **options):
        """Return the reply of a call, or the list of its replies."""
        call = self.call(method, *requests, **options)
        return [each async for each in call] if method.gives_stream else await call

    async def refusal(self, method, *requests, **options):
        """Return the status, the problem and the trailing metadata of a call that must fail.

        The error is not kept: its traceback would keep the channel open beyond the test.

        """
        try:
            await self.invoke(method, *requests, **options)
        except grpc.aio.AioRpcError as exc:
            trailing = dict(exc.trailing_metadata())
            return exc.code(), orjson.loads(trailing.get(ERROR_METADATA, b"{}")), trailing
        raise AssertionError("the call succeeded")


@asynccontextmanager
async def connected_caller(services):
    """Start a server on a port of its own, and connect a caller to it."""
    async with (
        GrpcServer(services, services.runtime.settings) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield Caller(channel, server.address)


@pytest.fixture
async def services(tmp_path):
    """Open services without authentication; models are loaded at their first use."""
    async with opened_services(tmp_path) as opened:
        yield opened


@pytest.fixture
async def caller(services):
    """Connect a caller to a server without authentication."""
    async with connected_caller(services) as connected:
        yield connected
