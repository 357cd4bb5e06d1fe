"""Fixtures with one real server for a module's tests, and clients of it over both transports."""

from __future__ import annotations

from itertools import count

import pytest
from tests.contract.conftest import Served, connections_have_ended, served
from tests.unit.client.proxy import Proxy

from super_advanced_agents import DistributedVectorStore

__all__ = ["connections_have_ended", "served"]

_numbers = count()


@pytest.fixture(params=["rest", "grpc"])
def url(request: pytest.FixtureRequest, served: Served) -> str:
    """Return the server's address for each transport."""
    return served.rest if request.param == "rest" else served.grpc


@pytest.fixture
def collection() -> str:
    """Return a collection name that no other test uses."""
    return f"clients-{next(_numbers)}"


@pytest.fixture
def store(url: str, collection: str, served: Served):
    """Yield a client of its own collection, with vectors of four numbers."""
    with DistributedVectorStore(url, collection=collection, api_key=served.key, dim=4) as client:
        yield client


@pytest.fixture
def proxy(url: str):
    """Yield a proxy in front of the server."""
    with Proxy(url) as running:
        yield running


@pytest.fixture
def proxied_store(proxy: Proxy, url: str, collection: str, served: Served):
    """Yield a client of the same collection that connects through the proxy."""
    with DistributedVectorStore(proxy.url, collection=collection, api_key=served.key, dim=4, timeout_s=20) as client:
        yield client
