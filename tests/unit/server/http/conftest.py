"""A fixture that starts HTTP servers for raw sockets."""

from __future__ import annotations

import asyncio

import pytest
import uvicorn
from tests.unit.server.http.raw_server import LONG_S, SERVED, Application, KeyAuthenticator, RawServer
from tests.unit.server.piped import PipelinedApplication
from uvicorn.server import ServerState

from super_advanced_agents.protocol.operations import OPERATIONS, PermitKind
from super_advanced_agents.server.connections import ConnectionCaps
from super_advanced_agents.server.http.listener.acceptor import Acceptor
from super_advanced_agents.server.http.listener.protocol import http_protocol
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.server.observing.requests import RequestObserver
from super_advanced_agents.server.sockets import bind_listener
from super_advanced_agents.tenancy.settings import Settings


@pytest.fixture
async def start_server():
    """Start servers whose timeouts are long unless they are given."""
    servers = []

    async def start(*, permits=10, wait_s=LONG_S, tls=None, **settings):
        longest = {"header_timeout_s": LONG_S, "body_timeout_s": LONG_S, "body_stall_s": LONG_S, **settings}
        app = Application()
        loaded = Settings.load(**longest)
        admission = Admission(
            permits=dict.fromkeys(PermitKind, permits), wait_s=wait_s, body_stall_s=loaded.body_stall_s
        )
        config = uvicorn.Config(
            PipelinedApplication(app, *OPERATIONS, *SERVED, admission=admission, authenticator=KeyAuthenticator()),
            http=http_protocol(loaded, admission, RequestObserver(access_log=False)),
            lifespan="off",
            log_config=None,
            ws="none",
        )
        config.load()
        state = ServerState()
        caps = ConnectionCaps(
            max_connections=loaded.max_connections, max_unauthenticated=loaded.max_unauthenticated, grace_s=0
        )
        acceptor = Acceptor(
            lambda: config.http_protocol_class(config=config, server_state=state, app_state={}),
            caps,
            context=tls,
            handshake_s=loaded.header_timeout_s,
        )
        listener = bind_listener("127.0.0.1", 0, "--port")
        acceptor.start([listener])
        servers.append((acceptor, listener, state, app))
        return RawServer(listener.getsockname()[1], app, admission, state, caps)

    yield start
    for acceptor, listener, state, app in servers:
        app.may_continue.set()
        await acceptor.stop([listener], 0)
        await asyncio.gather(*state.tasks)
        for connection in state.connections:
            connection.transport.abort()
        listener.close()
