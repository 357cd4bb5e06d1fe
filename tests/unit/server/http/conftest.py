"""A fixture that starts HTTP servers for raw sockets."""

from __future__ import annotations

import asyncio

import pytest
import uvicorn
from tests.unit.server.http.raw_server import LONG_S, SERVED, Application, RawServer
from tests.unit.server.piped import PipelinedApplication
from uvicorn.server import ServerState

from super_advanced_agents.protocol.operations import OPERATIONS, PermitKind
from super_advanced_agents.server.http.protocol import http_protocol
from super_advanced_agents.server.limits.admission import Admission
from super_advanced_agents.tenancy.settings import Settings


@pytest.fixture
async def start_server():
    """Start servers whose timeouts are long unless they are given."""
    servers = []

    async def start(*, permits=10, wait_s=LONG_S, **settings):
        longest = {"header_timeout_s": LONG_S, "body_timeout_s": LONG_S, **settings}
        admission = Admission(permits=dict.fromkeys(PermitKind, permits), wait_s=wait_s)
        app = Application()
        config = uvicorn.Config(
            PipelinedApplication(app, *OPERATIONS, *SERVED, admission=admission),
            http=http_protocol(Settings.load(**longest), admission),
            lifespan="off",
            log_config=None,
            ws="none",
        )
        config.load()
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: config.http_protocol_class(config=config, server_state=state, app_state={}), "127.0.0.1", 0
        )
        servers.append((server, state, app))
        return RawServer(server.sockets[0].getsockname()[1], app, admission, state)

    yield start
    for server, state, app in servers:
        app.may_continue.set()
        await asyncio.gather(*state.tasks)
        for connection in state.connections:
            connection.transport.abort()
        server.close()
        await server.wait_closed()
