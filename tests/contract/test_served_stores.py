"""The behaviour suite of vector stores, run by clients of a real server over REST and over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count

import pytest
from tests.contract.conftest import Served

from super_advanced_agents import DistributedVectorStore
from super_advanced_agents.testing.store_suite import MakeStore, VectorStoreSuite

_numbers = count()


@contextmanager
def _clients(url: str, key: str) -> Iterator[MakeStore]:
    """Yield a function that makes clients, each of a new collection."""
    with ExitStack() as stack:

        def make(dim: int) -> DistributedVectorStore:
            name = f"c{next(_numbers)}"
            return stack.enter_context(DistributedVectorStore(url, collection=name, api_key=key, dim=dim))

        yield make


class TestOverRest(VectorStoreSuite):
    """Clients over HTTP and JSON."""

    @pytest.fixture
    def make_store(self, served: Served) -> Iterator[MakeStore]:
        """Return clients of one server, each of a collection of its own."""
        with _clients(served.rest, served.key) as make:
            yield make


class TestOverGrpc(VectorStoreSuite):
    """Clients over HTTP/2 and protobuf."""

    @pytest.fixture
    def make_store(self, served: Served) -> Iterator[MakeStore]:
        """Return clients of one server, each of a collection of its own."""
        with _clients(served.grpc, served.key) as make:
            yield make
