"""Tests of searches by words in PostgreSQL: what they read, and that what was just written is found."""

from __future__ import annotations

import time

import numpy as np
import psycopg

from super_advanced_agents.stores.postgres import PgVectorStore

DIM = 4
RARE = ["zebra", "giraffe", "okapi", "tapir", "lemur", "walrus", "badger", "ferret", "ocelot", "puffin"]
ONE = np.ones(DIM, np.float32)


def _fill(store: PgVectorStore, texts: list[str]) -> None:
    for start in range(0, len(texts), 500):
        part = texts[start : start + 500]
        store.add_batch(np.ones((len(part), DIM), np.float32), [{"text": text} for text in part], namespace="n")


def test_search_by_rare_words_reads_their_postings_alone(postgres_url: str, postgres_schema_url: str) -> None:
    """Also before the server has statistics of the tables, as just after an import."""
    schema = postgres_schema_url.rpartition("=")[2]

    def read() -> int:
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            found = admin.execute(
                "SELECT coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes "
                "WHERE schemaname = %s AND indexrelname = 'postings_term'",
                (schema,),
            ).fetchone()
        assert found is not None
        return int(found[0])

    with PgVectorStore(postgres_schema_url, DIM) as store:
        _fill(store, [f"The number {i} of many words about harbours and ships" for i in range(1_500)])
        _fill(store, RARE)
    before = read()
    with PgVectorStore(postgres_schema_url, DIM) as store:
        for _ in range(3):
            assert len(store.search_keywords(" ".join(RARE), 20, namespace="n")) == len(RARE)
    # A session tells what it read when it ends.
    deadline = time.monotonic() + 30
    while read() == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert read() - before < 500


def test_first_text_with_a_word_is_found_at_once_beside_frequent_ones(postgres_schema_url: str) -> None:
    """A store that has searched before knows neither the word nor the language; another one writes the text."""
    with PgVectorStore(postgres_schema_url, DIM) as store, PgVectorStore(postgres_schema_url, DIM) as other:
        _fill(other, ["tea with milk"] * 1_200)
        for query in ("tea unicorn", "tea Katzen"):
            assert len(store.search_keywords(query, 5, namespace="n")) == 5
        other.add(ONE, {"text": "a unicorn"}, "unicorn", namespace="n")
        other.add(ONE, {"text": "Die Katze wartet auf den Hund und ist müde."}, "katze", namespace="n")
        for query, uid in (("tea unicorn", "unicorn"), ("tea Katzen", "katze")):
            assert store.search_keywords(query, 1, namespace="n")[0].uid == uid
            assert store.search_hybrid(-ONE, query, 1, namespace="n")[0].uid == uid


def test_matches_are_as_many_as_asked_for_although_the_best_have_expired(
    postgres_url: str, postgres_schema_url: str
) -> None:
    """Rows that have expired and are not removed yet take no place of others."""
    schema = postgres_schema_url.rpartition("=")[2]
    with PgVectorStore(postgres_schema_url, DIM) as store:
        _fill(store, ["tea"] * 150 + ["a long text about the harbour, ships, sails and some tea"] * 30)
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(f"UPDATE {schema}.records SET expires_at = 1 WHERE text = 'tea'".encode())
        for found in (
            store.search_keywords("tea", 20, namespace="n"),
            store.search_keywords("tea", 20, namespace="n", query_vector=ONE),
            store.search_hybrid(ONE, "tea", 20, namespace="n"),
            store.search_hybrid(ONE, "tea", 20, namespace="n", where={"text": {"$contains": "tea"}}),
        ):
            assert len(found) == 20
            assert all(match.text.startswith("a long text") for match in found)
