"""Test the errors of a server that cannot start."""

from __future__ import annotations

import socket

import pytest
from tests.unit.server.grpc.conftest import opened_services

from super_advanced_agents.errors import ConfigurationError, StoreFullError
from super_advanced_agents.server.app import create_app
from super_advanced_agents.server.grpc.server import GrpcServer
from super_advanced_agents.tenancy.settings import Settings


async def test_grpc_server_names_a_port_that_another_program_listens_on(tmp_path):
    """The message and the hint are the same as for the port of REST."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = Settings.load(data_dir=tmp_path, grpc_port=port)
        async with opened_services(tmp_path) as services:
            with pytest.raises(ConfigurationError, match=f"another program listens on 127.0.0.1:{port}") as caught:
                await GrpcServer(services, settings).__aenter__()
    assert "--grpc-port" in caught.value.hint


@pytest.fixture
def app(tmp_path):
    return create_app(Settings.load(data_dir=tmp_path, auth=False))


async def test_error_in_the_lifespan_of_the_app_is_not_raised_in_a_group(app):
    """A command would show a group of exceptions with all its tracebacks."""
    with pytest.raises(StoreFullError, match="no room"):
        async with app.router.lifespan_context(app):
            raise StoreFullError("no room")
