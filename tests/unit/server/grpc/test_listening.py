"""What a server tells that cannot begin."""

from __future__ import annotations

import socket

import pytest
from tests.unit.server.grpc.conftest import opened_gate

from super_advanced_agents.errors import ConfigurationError, StoreFullError
from super_advanced_agents.server.app import create_app
from super_advanced_agents.server.grpc.server import GrpcServer
from super_advanced_agents.tenancy.settings import Settings


async def test_grpc_server_names_the_port_when_another_program_has_taken_it_since_it_was_tried(tmp_path):
    """The same sentence and hint as for the port of REST."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = Settings.load(data_dir=tmp_path, grpc_port=port)
        async with opened_gate(tmp_path) as services:
            with pytest.raises(ConfigurationError, match=f"another program listens on 127.0.0.1:{port}") as told:
                await GrpcServer(services, settings).__aenter__()
    assert "--grpc-port" in told.value.hint


@pytest.fixture
def app(tmp_path):
    return create_app(Settings.load(data_dir=tmp_path, auth=False))


async def test_error_while_a_server_begins_leaves_its_lifespan_as_it_was_raised(app):
    """Not in a group of exceptions, which a command would show with all its tracebacks."""
    with pytest.raises(StoreFullError, match="no room"):
        async with app.router.lifespan_context(app):
            raise StoreFullError("no room")
