"""Measure a store in PostgreSQL beside hand-written SQL over the same tables.

The server is `SAA_TEST_POSTGRES_URL`, else one that is started for the run, with its files on the disk of `/tmp`.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from statistics import mean, median
from uuid import uuid4

import numpy as np
import psycopg
from psycopg.types.json import Jsonb

from benchmarks.locomo import Conversation
from benchmarks.measure import Bench, Rates, Row
from benchmarks.migrating import migration_row
from super_advanced_agents import EmbeddingPipeline, FAISSVectorStore
from super_advanced_agents.stores.base import VectorStore
from super_advanced_agents.stores.postgres import PgVectorStore
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view
from super_advanced_agents.types import Matrix, Metadata, Vector

DIM = 384
K = 10
BATCH = 1_000
_SEARCH_TARGET, _FILTER_TARGET, _ADD_TARGET = 0.85, 0.9, 0.85
_SCOPED_P50_MS = 5.0
_RECALL_DIFFERENCE = 0.005
_MIGRATION_PER_S = 4_000

_SEARCH = """SELECT uid, text, metadata, source, session, created_at, updated_at, 1 - (vector <=> %(q)s::vector)
    FROM {schema}.records WHERE scope = 1 AND (expires_at IS NULL OR expires_at > extract(epoch FROM now()))
    {filter} ORDER BY vector <=> %(q)s::vector LIMIT 10"""


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of all measurements over PostgreSQL."""
    with ExitStack() as stack:
        url = os.environ.get("SAA_TEST_POSTGRES_URL") or _start_server(stack)
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        yield from _against_sql(bench, url, connection)
        yield _tenants(bench, url, connection)
        yield _hybrid(bench, url, connection)
        schema = f"bench_{uuid4().hex}"
        yield migration_row(bench, "PostgreSQL", _schema(url, schema), least_per_s=_MIGRATION_PER_S)
        connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def _start_server(stack: ExitStack) -> str:
    from tests.postgres import running_server

    return stack.enter_context(running_server({"shared_buffers": "1GB"})).url


def _schema(url: str, name: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}schema={name}"


def _vectors(rng: np.random.Generator, n: int) -> Matrix:
    matrix = rng.normal(size=(n, DIM)).astype(np.float32)
    unit: Matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return unit


def _text_of(vector: Vector) -> str:
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


def _metadatas(start: int, n: int) -> list[Metadata | None]:
    return [{"n": i, "bucket": i % 100, "type": "fact"} for i in range(start, start + n)]


def _against_sql(bench: Bench, url: str, connection: psycopg.Connection) -> Iterator[Row]:
    rng, n, schema = np.random.default_rng(0), 10_000 if bench.quick else 100_000, f"bench_{uuid4().hex}"
    with PgVectorStore(_schema(url, schema), DIM, graph_rows=None) as store:
        for start in range(0, n, BATCH):
            store.add_batch(_vectors(rng, BATCH), _metadatas(start, BATCH))
        connection.execute(f"VACUUM ANALYZE {schema}.records".encode())
        queries = _vectors(rng, 20 if bench.quick else 60)
        filtered = _SEARCH.replace("{schema}", schema).replace("{filter}", "AND fields @> %(filter)s")
        plain = _SEARCH.replace("{schema}", schema).replace("{filter}", "")
        found: list[float] = []

        def by_hand(i: int, statement: str) -> set[str]:
            parameters = {"q": _text_of(queries[i]), "filter": Jsonb({"bucket": i % 100})}
            return {row[0] for row in connection.execute(statement.encode(), parameters).fetchall()}

        def by_store(i: int, *, with_filter: bool) -> set[str]:
            where = {"bucket": i % 100} if with_filter else None
            return {match.uid for match in store.search(queries[i], K, where=where, namespace="default")}

        for statement, with_filter, work, target in (
            (filtered, True, f"PostgreSQL: search {n:,} by a filter of 1%", _FILTER_TARGET),
            (plain, False, f"PostgreSQL: exact search of {n:,}", _SEARCH_TARGET),
        ):
            rates = Rates([], [])
            for _ in range(3):
                rates.ours.append(_rate(queries, lambda i, w=with_filter: by_store(i, with_filter=w)))
                rates.reference.append(_rate(queries, lambda i, s=statement: by_hand(i, s)))
            same = [
                len(by_store(i, with_filter=with_filter) & by_hand(i, statement)) / K
                for i in range(min(20, len(queries)))
            ]
            found.append(mean(same))
            yield rates.row(f"{work} (recall {mean(same):.3f})", "SQL by hand", target)
        yield _batches(bench, store, connection, schema)
    connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def _rate(queries: Matrix, search: object) -> float:
    started = time.perf_counter()
    for i in range(len(queries)):
        search(i)  # type: ignore[operator]
    return len(queries) / (time.perf_counter() - started)


def _batches(bench: Bench, store: VectorStore, connection: psycopg.Connection, schema: str) -> Row:
    # By hand: COPY in binary format into a table of the same columns and indexes, one transaction a batch.
    connection.execute(f"CREATE TABLE {schema}.by_hand (LIKE {schema}.records INCLUDING ALL)".encode())
    columns = "seq, scope, created_at, updated_at, place, vector, uid, fields, metadata"
    statement = f"COPY {schema}.by_hand ({columns}) FROM STDIN (FORMAT BINARY)".encode()
    rng, seqs, rates = np.random.default_rng(1), count(1), Rates([], [])
    for number in range(3 if bench.quick else 10):
        vectors, metadatas = _vectors(rng, BATCH), _metadatas(number * BATCH, BATCH)
        started = time.perf_counter()
        store.add_batch(vectors, metadatas, namespace="more")
        rates.ours.append(BATCH / (time.perf_counter() - started))
        started = time.perf_counter()
        with connection.transaction(), connection.cursor().copy(statement) as copy:
            copy.write(b"".join(_binary_rows(vectors, metadatas, seqs)))
        rates.reference.append(BATCH / (time.perf_counter() - started))
    return rates.row(f"PostgreSQL: add_batch of {BATCH:,}", "binary COPY by hand", _ADD_TARGET)


def _binary_rows(vectors: Matrix, metadatas: list[Metadata | None], seqs: Iterator[int]) -> Iterator[bytes]:
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    numbers = vectors.astype(">f4")
    for vector, metadata in zip(numbers, metadatas, strict=True):
        seq, encoded, now = next(seqs), json.dumps(metadata).encode(), struct.pack(">d", time.time())
        values = [
            seq.to_bytes(8, "big"), (1).to_bytes(4, "big"), now, now, seq.to_bytes(8, "big"),
            struct.pack(">hh", DIM, 0) + vector.tobytes(), str(uuid4()).encode(), b"\1" + encoded, encoded,
        ]  # fmt: skip
        yield len(values).to_bytes(2, "big") + b"".join(len(each).to_bytes(4, "big") + each for each in values)
    yield b"\xff\xff"


def _tenants(bench: Bench, url: str, connection: psycopg.Connection) -> Row:
    rng, n, schema = np.random.default_rng(2), 500 if bench.quick else 10_000, f"bench_{uuid4().hex}"
    with PgVectorStore(_schema(url, schema), DIM) as store:
        for i in range(n):
            tenant_view(store, f"t{i}").add_batch(_vectors(rng, 100), _metadatas(0, 100), namespace="agent")
        connection.execute(f"VACUUM ANALYZE {schema}.records".encode())
        times = []
        for i in rng.integers(0, n, 500).tolist():
            view, query = tenant_view(store, f"t{i}"), _vectors(rng, 1)[0]
            started = time.perf_counter()
            assert len(view.search(query, K, namespace="agent")) == K
            times.append((time.perf_counter() - started) * 1e3)
    connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())
    p50 = median(times)
    return Row(
        f"PostgreSQL: scoped search, {n:,} tenants of 100 memories",
        f"p50 {p50:.2f} ms",
        target=f"<= {_SCOPED_P50_MS:g} ms",
        reached=p50 <= _SCOPED_P50_MS,
        details={"p50_ms": p50, "p99_ms": sorted(times)[int(0.99 * len(times))]},
    )


def _hybrid(bench: Bench, url: str, connection: psycopg.Connection) -> Row:
    schema = f"bench_{uuid4().hex}"
    chosen = bench.conversations[: 1 if bench.quick else None]
    with (
        EmbeddingPipeline() as embedder,
        FAISSVectorStore(DIM) as embedded,
        PgVectorStore(_schema(url, schema), DIM) as store,
    ):
        for conversation in chosen:
            texts = [turn.memory for turn in conversation.turns]
            vectors = embedder.embed_batch(texts)
            for one in (embedded, store):
                for start in range(0, len(texts), BATCH):
                    part = slice(start, start + BATCH)
                    one.add_batch(
                        vectors[part],
                        [{"text": text} for text in texts[part]],
                        [turn.name for turn in conversation.turns[part]],
                        namespace=conversation.name,
                        sessions=[turn.session for turn in conversation.turns[part]],
                    )
        ours, theirs = (_recall(one, embedder, chosen) for one in (store, embedded))
    connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())
    return Row(
        f"PostgreSQL: LoCoMo evidence recall@{K}, hybrid",
        f"{ours:.4f}",
        f"{theirs:.4f} embedded store",
        f"{ours - theirs:+.4f}",
        f"within {_RECALL_DIFFERENCE}",
        abs(ours - theirs) <= _RECALL_DIFFERENCE,
        {"recall": ours, "embedded": theirs},
    )


def _recall(store: VectorStore, embedder: EmbeddingPipeline, chosen: list[Conversation]) -> float:
    shares = []
    for conversation in chosen:
        questions = [question for question in conversation.questions if question.evidence]
        vectors = embedder.embed_batch([question.text for question in questions])
        for question, vector in zip(questions, vectors, strict=True):
            matches = store.search_hybrid(vector, question.text, K, namespace=conversation.name)
            shares.append(len({match.uid for match in matches} & question.evidence) / len(question.evidence))
    return mean(shares)
