"""Tests of a store in PostgreSQL that the shared suite does not have: graphs, sharing, storage and errors."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np
import psycopg
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import ConfigurationError, EngineUnavailableError
from super_advanced_agents.jobs.sql.postgres import PostgresDatabase
from super_advanced_agents.stores.opening import open_store
from super_advanced_agents.stores.postgres import PgVectorStore
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view
from super_advanced_agents.tenancy.shared_state import SharedState
from super_advanced_agents.types import Metadata

DIM = 8
RNG = np.random.default_rng(0)


def _wait_for_graph(store: PgVectorStore) -> None:
    deadline = time.monotonic() + 60
    while store.stats()["graphs"] != 1:
        assert time.monotonic() < deadline, "no graph was built"
        time.sleep(0.1)


@pytest.mark.parametrize("storage", ["vector", "halfvec"])
def test_graph_of_a_large_namespace_returns_top_k_for_every_filter(postgres_schema_url: str, storage: str) -> None:
    """A broad filter, a selective one and none each give k matches, and the exact ones where few are selected."""
    vectors = RNG.normal(size=(600, DIM)).astype(np.float32)
    metadatas: list[Metadata | None] = [{"i": i, "rare": i % 100 == 0} for i in range(600)]
    with (
        FAISSVectorStore(DIM, index="flat") as exact,
        PgVectorStore(postgres_schema_url, DIM, graph_rows=200, storage=storage) as store,  # type: ignore[arg-type]
    ):
        uids = [f"{i:03}" for i in range(600)]
        exact.add_batch(vectors, metadatas, uids)
        store.add_batch(vectors, metadatas, uids)
        _wait_for_graph(store)
        for where in (None, {"rare": True}, {"i": {"$gte": 30}}, {"i": {"$lt": 3}}):
            found = store.search_batch(vectors[:5], 6, where=where, namespace="default")
            expected = exact.search_batch(vectors[:5], 6, where=where)
            for one, other in zip(found, expected, strict=True):
                assert len(one) == len(other)
                assert len({match.uid for match in one} & {match.uid for match in other}) >= len(other) - 1
        store.delete(where={"i": {"$lt": 590}})
        assert len(store.search(vectors[0], 20, namespace="default")) == 10
        assert len(store.search(vectors[0], 20)) == 10


def test_two_stores_share_a_schema(postgres_schema_url: str) -> None:
    """What one writes the other finds at once, as two processes do."""
    with PgVectorStore(postgres_schema_url, DIM) as one, PgVectorStore(postgres_schema_url, DIM) as other:
        assert other.search(np.ones(DIM), namespace="n") == []
        uid = one.add(np.ones(DIM), {"text": "tea"}, namespace="n", model_id="m")
        assert [match.uid for match in other.search(np.ones(DIM), namespace="n")] == [uid]
        assert [match.uid for match in other.search_keywords("tea", namespace="n")] == [uid]
        assert other.delete([uid], namespace="n") == 1
        assert one.get([uid]) == []


def test_tenants_do_not_see_each_other(postgres_schema_url: str) -> None:
    """Records, namespaces, words' weights and deletions are of one tenant each; so is a call without a namespace."""
    with PgVectorStore(postgres_schema_url, DIM) as store:
        ann, bob = tenant_view(store, "ann"), tenant_view(store, "bob")
        ann.add(np.ones(DIM), {"text": "tea with ann"}, "x", namespace="n")
        bob.add(np.ones(DIM), {"text": "tea with bob"}, "x", namespace="n")
        [found] = ann.search_keywords("tea", namespace="n")
        alone = found.score
        bob.add_batch(np.ones((50, DIM)), [{"text": f"tea {i}"} for i in range(50)], namespace="n")
        [found] = ann.search_keywords("tea", namespace="n")
        assert (found.text, found.score) == ("tea with ann", alone)
        assert ann.count(namespace="n") == 1
        assert store.count() == 0
        assert store.delete(where={}) == 0
        assert ann.delete(where={}, namespace="n") == 1
        assert bob.count(namespace="n") == 51


def test_scores_of_words_equal_those_of_the_embedded_store(postgres_schema_url: str) -> None:
    """One analyzer, one BM25: the same records give the same scores, with sessions and in several languages."""
    texts = [f"The cat number {i} sat {'on the red mat ' * (i % 4)}with Ann." for i in range(60)]
    texts += ["Die Katzen sitzen auf der Matte und warten auf den Hund.", "Les chats dorment dans la maison bleue."]
    vectors = RNG.normal(size=(len(texts), DIM)).astype(np.float32)
    sessions = [f"s{i % 5}" if i % 2 else None for i in range(len(texts))]
    uids = [f"{i:02}" for i in range(len(texts))]
    with FAISSVectorStore(DIM) as embedded, PgVectorStore(postgres_schema_url, DIM) as store:
        for one in (embedded, store):
            one.add_batch(vectors, [{"text": text} for text in texts], uids, sessions=sessions)
            one.delete(["11", "13"])
        for query in ("a cat on a red mat", "Katze auf der Matte", "number 7", "Ann"):
            expected = embedded.search_keywords(query, 20)
            found = store.search_keywords(query, 20)
            assert [match.score for match in found] == pytest.approx([match.score for match in expected], rel=0.02)
            hybrid, other = store.search_hybrid(vectors[3], query, 10), embedded.search_hybrid(vectors[3], query, 10)
            assert [match.uid for match in hybrid][:3] == [match.uid for match in other][:3]


def test_vectors_of_extreme_lengths_are_compared_by_direction(postgres_schema_url: str) -> None:
    """Their squares would overflow four bytes; they come back as they were added."""
    directions = np.eye(3, DIM, dtype=np.float32)
    vectors = np.concatenate([directions * np.float32(1e-30), directions * np.float32(1e30)])
    with PgVectorStore(postgres_schema_url, DIM) as store:
        store.add_batch(vectors, None, [*"abcdef"])
        found = store.search(directions[1] * np.float32(1e30), 2)
        assert {match.uid for match in found} == {"b", "e"}
        assert [match.score for match in found] == pytest.approx([1.0, 1.0])
        np.testing.assert_array_equal(store.get(["a"])[0].vector, vectors[0])
        record = replace(store.get(["f"])[0], uid="g")
        assert store.put([record]) == 1
        np.testing.assert_array_equal(store.get(["g"])[0].vector, vectors[5])


def test_page_of_nested_lists_ends_early(postgres_schema_url: str) -> None:
    """They take twenty times the bytes of their JSON in memory."""
    with PgVectorStore(postgres_schema_url, dim=2) as store:
        store.add_batch([[1, 2]] * 100, [{"a": [[]] * 2_000}] * 100)
        first = store.scan(limit=100)
        assert 50 < len(first) < 100
        assert len(store.scan(limit=100, after=first[-1].uid)) == 100 - len(first)


def test_nul_characters_in_metadata_come_back(postgres_schema_url: str) -> None:
    """PostgreSQL's texts hold none, so they are kept apart, and filters find them."""
    metadata: Metadata = {"a\0": "b\0c", "list": ["\0", "\\u0000"], "float": 1e15}
    with PgVectorStore(postgres_schema_url, DIM) as store:
        store.add(np.ones(DIM), metadata, "x")
        assert store.get(["x"])[0].metadata == metadata
        assert store.count({"a\0": "b\0c"}) == store.count({"list": {"$contains": "\0"}}) == 1
        assert store.count({"list": {"$contains": "\\u0000"}}) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"dim": 0}, "dim"),
        ({"dim": 16_001}, "dim"),
        ({"metric": "l2"}, "metric"),
        ({"storage": "fp32"}, "storage"),
        ({"connections": 0}, "connections"),
        ({"graph_rows": 0}, "graph_rows"),
    ],
)
def test_invalid_argument_is_named(arguments: dict[str, object], named: str) -> None:
    """Nothing is connected to."""
    with pytest.raises(ConfigurationError, match=named):
        PgVectorStore("postgresql://127.0.0.1:1/x", **{"dim": 3, **arguments})  # type: ignore[arg-type]


def test_store_of_another_dimension_is_refused(postgres_schema_url: str) -> None:
    """The message names both, and the way out."""
    with PgVectorStore(postgres_schema_url, DIM) as store:
        store.add(np.ones(DIM))
    for dim, metric, named in ((DIM + 1, "cosine", f"dim={DIM}, not {DIM + 1}"), (DIM, "dot", "metric=cosine")):
        with (
            open_store(postgres_schema_url, dim=dim, metric=metric) as other,  # type: ignore[arg-type]
            pytest.raises(ConfigurationError, match=named),
        ):
            other.count()


def test_database_without_the_extension_says_what_to_run(postgres_url: str) -> None:
    """A role that may not create it gets the administrator's command."""
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE plain")
        admin.execute("CREATE ROLE plain_user LOGIN")
        try:
            url = postgres_url.replace("postgres@/postgres?", "plain_user@/plain?")
            with PgVectorStore(url, DIM) as store, pytest.raises(ConfigurationError, match="CREATE EXTENSION vector"):
                store.count()
        finally:
            admin.execute("DROP DATABASE plain")
            admin.execute("DROP ROLE plain_user")


def test_role_without_superuser_needs_only_a_schema(postgres_url: str) -> None:
    """With the extension there and a schema of its own, a plain role has a store, the state of servers and jobs."""
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("CREATE EXTENSION IF NOT EXISTS vector")
        admin.execute("CREATE ROLE saa_user LOGIN")
        admin.execute("CREATE SCHEMA of_user AUTHORIZATION saa_user")
        try:
            url = postgres_url.replace("postgres@/", "saa_user@/") + "&schema=of_user"
            with PgVectorStore(url, DIM) as store:
                uid = store.add(np.ones(DIM), {"text": "tea"})
                assert [match.uid for match in store.search_hybrid(np.ones(DIM), "tea")] == [uid]
            with SharedState(url) as state:
                state.open()
            PostgresDatabase(url).close()
        finally:
            admin.execute("DROP SCHEMA of_user CASCADE")
            admin.execute("DROP ROLE saa_user")


def test_standby_serves_reads_and_refuses_writes(postgres_schema_url: str) -> None:
    """A read-only session searches what is there; a write names the standby and the next step."""
    with PgVectorStore(postgres_schema_url, DIM) as store:
        uid = store.add(np.ones(DIM), {"text": "tea"})
    mark = "&options=-c%20default_transaction_read_only%3Don"
    with PgVectorStore(postgres_schema_url + mark, DIM) as standby:
        assert [match.uid for match in standby.search_hybrid(np.ones(DIM), "tea")] == [uid]
        with pytest.raises(EngineUnavailableError, match="read-only standby"):
            standby.add(np.ones(DIM))


async def test_writes_of_many_processes_to_one_namespace_are_all_stored(postgres_schema_url: str) -> None:
    """Stores of their own pools add, replace and dedupe at once; nothing is lost or doubled."""
    stores = [PgVectorStore(postgres_schema_url, DIM, connections=2) for _ in range(3)]
    vector = np.ones(DIM, np.float32)
    calls = [store.aadd(vector, {"text": f"text {i % 4}"}, dedupe="exact") for i in range(8) for store in stores]
    calls += [store.aadd(vector, {"n": i}, f"u{i}") for i in range(8) for store in stores]
    await asyncio.gather(*calls)
    assert await stores[0].acount() == 12
    for store in stores:
        await store.aclose()


async def test_version_of_all_namespaces_changes_with_a_write_that_commits_late(
    postgres_url: str, postgres_schema_url: str
) -> None:
    """Another process took its number before a write to another namespace, and committed after it."""
    schema = postgres_schema_url.rpartition("=")[2]
    async with PgVectorStore(postgres_schema_url, DIM) as store:
        for namespace in ("a", "b"):
            await store.aadd(np.ones(DIM), namespace=namespace)
        async with await psycopg.AsyncConnection.connect(postgres_url) as other:
            number = f"nextval('{schema}.versions')"
            await other.execute(f"UPDATE {schema}.scopes SET version = {number} WHERE namespace = 'a'".encode())
            await store.aadd(np.ones(DIM), namespace="b")
            before = await store.aversion()
            await other.commit()
            assert await store.aversion() != before
