"""The behaviour suite of vector stores, run on a store in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from tests.postgres import fresh_schema

from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.postgres import PgVectorStore
from super_advanced_agents.testing.store_suite import MakeStore, VectorStoreSuite


def _open(stack: ExitStack, postgres_url: str, dim: int, **options: object) -> VectorStore:
    url = stack.enter_context(fresh_schema(postgres_url))
    return stack.enter_context(PgVectorStore(url, dim, **options))  # type: ignore[arg-type]


class TestPostgres(VectorStoreSuite):
    """Exact search, vectors of four bytes a number."""

    @pytest.fixture
    def make_store(self, postgres_url: str) -> Iterator[MakeStore]:
        """Return stores in schemas of their own."""
        with ExitStack() as stack:
            yield partial(_open, stack, postgres_url)


class TestPostgresByInnerProduct(VectorStoreSuite):
    """Exact search by inner product, so that scores depend on the lengths of vectors."""

    metric = "dot"

    @pytest.fixture
    def make_store(self, postgres_url: str) -> Iterator[MakeStore]:
        """Return stores in schemas of their own, with the dot metric."""
        with ExitStack() as stack:
            yield partial(_open, stack, postgres_url, metric="dot")
