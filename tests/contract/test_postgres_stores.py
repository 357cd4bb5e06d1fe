"""The behaviour suite of vector stores, run on a store in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import ClassVar

import psycopg
import pytest
from tests.postgres import fresh_schema

from super_advanced_agents.stores.options import Metric
from super_advanced_agents.stores.postgres import PgVectorStore
from super_advanced_agents.testing.store_suite import MakeStore, VectorStoreSuite

_TABLES = ("postings", "entries", "records", "writes", "scopes", "tenants")


class _SchemaPool:
    """Lend empty schemas; making one takes 0.2 s, emptying one a few milliseconds."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self._url, self._stack = url, stack
        self._free: dict[tuple[int, Metric], list[str]] = {}

    @contextmanager
    def lend(self, dim: int, metric: Metric) -> Iterator[str]:
        free = self._free.setdefault((dim, metric), [])
        url = free.pop() if free else self._stack.enter_context(fresh_schema(self._url))
        yield url
        schema = url.rpartition("=")[2]
        with psycopg.connect(self._url) as connection:
            if connection.execute("SELECT to_regclass(%s)", (f"{schema}.records",)).fetchone() != (None,):
                for table in _TABLES:
                    connection.execute(f"DELETE FROM {schema}.{table}".encode())
        free.append(url)


@pytest.fixture(scope="module")
def schemas(postgres_url: str) -> Iterator[_SchemaPool]:
    """Return empty schemas, which the tests use one after another."""
    with ExitStack() as stack:
        yield _SchemaPool(postgres_url, stack)


class PostgresSuite(VectorStoreSuite):
    """Open stores in schemas that tests use one after another."""

    __test__: ClassVar[bool] = False
    metric: Metric = "cosine"

    @pytest.fixture
    def make_store(self, schemas: _SchemaPool) -> Iterator[MakeStore]:
        """Return stores in empty schemas."""
        with ExitStack() as stack:

            def make(dim: int) -> PgVectorStore:
                url = stack.enter_context(schemas.lend(dim, self.metric))
                return stack.enter_context(PgVectorStore(url, dim, metric=self.metric))

            yield make


class TestPostgres(PostgresSuite):
    """Exact search by the cosine."""

    __test__ = True


class TestPostgresByInnerProduct(PostgresSuite):
    """Exact search by inner product, so that scores depend on the lengths of vectors."""

    __test__ = True
    metric = "dot"
