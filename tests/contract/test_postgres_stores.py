"""The behaviour suite of vector stores, run on a store in PostgreSQL: whole, in partitions, and behind pgbouncer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import ClassVar

import psycopg
import pytest
from tests.pgbouncer import PROGRAM, pooled
from tests.postgres import fresh_schema

from super_advanced_agents.stores.options import Metric
from super_advanced_agents.stores.postgres import PgVectorStore
from super_advanced_agents.testing.store_suite import MakeStore, VectorStoreSuite

_TABLES = ("postings", "entries", "records", "writes", "scopes", "tenants")


class _SchemaPool:
    """Lend empty schemas; making one takes 0.2 s, emptying one a few milliseconds."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self._url, self._stack = url, stack
        self._free: dict[tuple[str, int, Metric], list[str]] = {}

    @contextmanager
    def lend(self, kind: str, dim: int, metric: Metric) -> Iterator[str]:
        free = self._free.setdefault((kind, dim, metric), [])
        name = free.pop() if free else self._stack.enter_context(fresh_schema(self._url)).rpartition("=")[2]
        yield name
        with psycopg.connect(self._url) as connection:
            if connection.execute("SELECT to_regclass(%s)", (f"{name}.records",)).fetchone() != (None,):
                for table in _TABLES:
                    connection.execute(f"DELETE FROM {name}.{table}".encode())
        free.append(name)


@pytest.fixture(scope="module")
def schemas(postgres_url: str) -> Iterator[_SchemaPool]:
    """Return empty schemas, which the tests use one after another."""
    with ExitStack() as stack:
        yield _SchemaPool(postgres_url, stack)


@pytest.fixture(scope="module")
def pooled_url(postgres_url: str) -> Iterator[str]:
    """Return the URL of a pgbouncer in front of the server; of the server itself where there is no pgbouncer."""
    if PROGRAM is None:
        yield postgres_url
        return
    with pooled(postgres_url) as url:
        yield url


class PostgresSuite(VectorStoreSuite):
    """Open stores in schemas that tests use one after another."""

    __test__: ClassVar[bool] = False
    metric: Metric = "cosine"
    parameters: ClassVar[str] = ""

    @pytest.fixture
    def server_url(self, postgres_url: str) -> str:
        """Return the URL of the server."""
        return postgres_url

    @pytest.fixture
    def make_store(self, schemas: _SchemaPool, server_url: str) -> Iterator[MakeStore]:
        """Return stores in empty schemas."""
        with ExitStack() as stack:

            def make(dim: int) -> PgVectorStore:
                schema = stack.enter_context(schemas.lend(self.parameters, dim, self.metric))
                url = f"{server_url}{'&' if '?' in server_url else '?'}schema={schema}{self.parameters}"
                return stack.enter_context(PgVectorStore(url, dim, metric=self.metric))

            yield make


class TestPostgres(PostgresSuite):
    """Exact search by the cosine."""

    __test__ = True


class TestPostgresInPartitions(PostgresSuite):
    """Exact search by inner product, whose scores depend on the lengths of vectors, in tables of three partitions.

    Where pgbouncer is installed, each transaction runs in any of three sessions, so that nothing may be left in one for
    the next. `tests/unit/_runtime/postgres/test_pgbouncer.py` is skipped without it, and says so.
    """

    __test__ = True
    metric = "dot"
    parameters = "&partitions=3"

    @pytest.fixture
    def server_url(self, pooled_url: str) -> str:
        """Return the URL of the pgbouncer."""
        return pooled_url
