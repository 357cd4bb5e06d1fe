"""Stores over a real Milvus server, of collections that the tests of a module share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from super_advanced_agents.stores import MilvusVectorStore

DIM = 8


@pytest.fixture(scope="module")
def collection_url(milvus_url: str) -> str:
    """The URL of a collection of this module; its first store makes it."""
    return f"{milvus_url}/unit_{uuid4().hex}"


@pytest.fixture
def store(collection_url: str) -> Iterator[MilvusVectorStore]:
    """A store without records."""
    with MilvusVectorStore(collection_url, DIM, partitions=2) as opened:
        deadline = time.monotonic() + 30
        while opened.count() and time.monotonic() < deadline:  # what another client deleted a moment ago
            time.sleep(0.01)
        yield opened
        opened.delete(where={})
