"""One real server for a module's tests, and clients of it over both transports."""

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
    """The server's address, over each transport."""
    return served.rest if request.param == "rest" else served.grpc


@pytest.fixture
def collection() -> str:
    """A name that no other test uses."""
    return f"clients-{next(_numbers)}"


@pytest.fixture
def store(url: str, collection: str, served: Served):
    """A client of a collection of its own, of vectors of four numbers."""
    with DistributedVectorStore(url, collection=collection, api_key=served.key, dim=4) as made:
        yield made


@pytest.fixture
def proxy(url: str):
    """A proxy in front of the server."""
    with Proxy(url) as made:
        yield made


@pytest.fixture
def through(proxy: Proxy, url: str, collection: str, served: Served):
    """A client of the same collection that goes through the proxy."""
    scheme = url.partition(":")[0]
    with DistributedVectorStore(
        f"{scheme}://127.0.0.1:{proxy.port}", collection=collection, api_key=served.key, dim=4, timeout_s=20
    ) as made:
        yield made
