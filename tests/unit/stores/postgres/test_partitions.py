"""Tests of a store whose large tables are in partitions; the contract suite runs over one, too."""

from __future__ import annotations

import time

import numpy as np
import psycopg
import pytest

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.postgres import PgVectorStore
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view

DIM = 8
RNG = np.random.default_rng(0)


def test_graph_of_a_namespace_is_an_index_of_its_partition(postgres_url: str, postgres_schema_url: str) -> None:
    """Searches of the namespace use it, and those of others are exact."""
    schema = postgres_schema_url.rpartition("=")[2]
    vectors = RNG.normal(size=(400, DIM)).astype(np.float32)
    with PgVectorStore(f"{postgres_schema_url}&partitions=3", DIM, graph_rows=200) as store:
        for i in range(6):
            tenant_view(store, f"t{i}").add_batch(vectors[:50], [{"text": f"tea {n}"} for n in range(50)])
        store.add_batch(vectors, namespace="large")
        deadline = time.monotonic() + 60
        while store.stats()["graphs"] != 1:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert len(store.search(vectors[0], 7, namespace="large")) == 7
        assert [match.score for match in store.search(vectors[0], 1, namespace="large")] == pytest.approx([1.0])
        for i in range(6):
            assert len(tenant_view(store, f"t{i}").search_hybrid(vectors[3], "tea", 5, namespace="default")) == 5
        assert store.stats()["rows"] == 700
    with psycopg.connect(postgres_url) as admin:
        graphs = admin.execute(
            "SELECT tablename FROM pg_indexes WHERE schemaname = %s AND indexname LIKE 'records_graph_%%'", (schema,)
        ).fetchall()
        filled = admin.execute(f"SELECT count(DISTINCT tableoid) FROM {schema}.records".encode()).fetchone()
    assert len(graphs) == 1
    assert graphs[0][0].startswith("records_")
    assert filled is not None
    assert filled[0] > 1


def test_search_of_a_namespace_reads_one_partition(postgres_url: str, postgres_schema_url: str) -> None:
    """The plan of its statement names no other table of records."""
    schema = postgres_schema_url.rpartition("=")[2]
    with PgVectorStore(f"{postgres_schema_url}&partitions=3", DIM) as store:
        store.add_batch(RNG.normal(size=(20, DIM)).astype(np.float32))
    with psycopg.connect(postgres_url) as admin:
        plan = admin.execute(
            f"EXPLAIN SELECT uid FROM {schema}.records WHERE scope = 1 AND seq = ANY('{{1,2}}')".encode()
        )
        assert str(plan.fetchall()).count(" on records_") == 1


def test_number_of_partitions_stays_what_it_was_made_with(postgres_schema_url: str) -> None:
    """Another one is refused by name; a URL that says nothing opens it as it is."""
    with PgVectorStore(f"{postgres_schema_url}&partitions=3", DIM) as store:
        store.add(np.ones(DIM))
    with PgVectorStore(postgres_schema_url, DIM) as store:
        assert store.count() == 1
    with (
        PgVectorStore(f"{postgres_schema_url}&partitions=4", DIM) as store,
        pytest.raises(ConfigurationError, match=r"was made with partitions=3, not 4"),
    ):
        store.count()
