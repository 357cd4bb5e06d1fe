"""Measure a store over Milvus beside pymilvus by hand, and a migration to it.

The server is `SAA_TEST_MILVUS_URL`, else the one that the tests start, whose writes are visible after 20 ms.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

from pymilvus import MilvusClient

from benchmarks.measure import Bench, Row, alternate, rate
from benchmarks.migrating import migration_row
from benchmarks.vectors import BLOCK, DIM, K, blocks, payloads, queries
from super_advanced_agents.config import LIMITS
from super_advanced_agents.stores import MilvusVectorStore
from super_advanced_agents.stores.milvus.rows import Content, Scope, Stored, columns_of, primary_key
from super_advanced_agents.stores.milvus.rows import Row as StoredRow
from super_advanced_agents.stores.milvus.schema import partition_names, partition_of
from super_advanced_agents.stores.records.documents import checked_document
from super_advanced_agents.types import Matrix

BATCH = 1_000
_TARGET = 0.85
_MIGRATION_PER_S = 3_000
_COLUMNS = ["uid", "text", "text_rest", "metadata", "source", "session", "created_at", "updated_at"]


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of searches, of batches and of a migration."""
    from tests.milvus_engine import own_server

    url = os.environ.get("SAA_TEST_MILVUS_URL") or own_server()
    name = f"bench_{uuid4().hex}"
    client = MilvusClient(uri=url.replace("milvus:", "http:"), dedicated=True)
    with MilvusVectorStore(f"{url}/{name}", DIM) as store:
        yield from _searches(bench, store, client, name)
        yield _batches(bench, store, client, name)
    MilvusVectorStore.drop(f"{url}/{name}")
    target = f"{url}/bench_{uuid4().hex}"
    yield migration_row(bench, "Milvus", target, least_per_s=_MIGRATION_PER_S)
    MilvusVectorStore.drop(target)
    client.close()


def _searches(bench: Bench, store: MilvusVectorStore, client: MilvusClient, name: str) -> Iterator[Row]:
    _, vectors = next(blocks(BLOCK))
    for start in range(0, BLOCK, BATCH):
        store.add_batch(vectors[start : start + BATCH], payloads(start, BATCH))
    asked = queries(100 if bench.quick else 400)
    partition = partition_of("", partition_names(16))

    def by_store(number: int) -> list[str]:
        return [match.uid for match in store.search(asked[number], K, namespace="default")]

    def by_hand(number: int) -> list[str]:
        [hits] = client.search(
            name,
            data=[asked[number].tolist()],
            anns_field="vector",
            filter=f'tenant == "" and namespace == "default" and expires_at > {time.time()!r}',
            limit=K,
            output_fields=_COLUMNS,
            search_params={"params": {"ef": 64}},
            partition_names=[partition],
            consistency_level="Session",
        )
        found = [hit["entity"] for hit in hits]
        for each in found:
            each["metadata"] = json.loads(each["metadata"])
        return [each["uid"] for each in found]

    assert set(by_store(0)) == set(by_hand(0))
    for threads in (1, 8):
        with ThreadPoolExecutor(threads) as pool:

            def all_of(search: Callable[[int], list[str]], pool: ThreadPoolExecutor = pool) -> float:
                return rate(len(asked), lambda: list(pool.map(search, range(len(asked)))))

            rates = alternate(3 if bench.quick else 7, partial(all_of, by_store), partial(all_of, by_hand))
        yield rates.row(f"Milvus: search {BLOCK:,} for {K}, {threads} threads", "pymilvus by hand", _TARGET)


def _batches(bench: Bench, store: MilvusVectorStore, client: MilvusClient, name: str) -> Row:
    # By hand: the same columns, whose values are ready, into the same collection and partition.
    partition, numbers, vectors = partition_of("", partition_names(16)), count(BLOCK, BATCH), next(blocks(BATCH))[1]

    def by_store() -> float:
        metadatas = payloads(next(numbers), BATCH)
        return rate(BATCH, lambda: store.add_batch(vectors, metadatas, namespace="more"))

    def by_hand() -> float:
        ready = _ready_rows(vectors, next(numbers))
        return rate(BATCH, lambda: client.upsert(name, ready, partition_name=partition))

    rates = alternate(4 if bench.quick else 12, by_store, by_hand)
    return rates.row(f"Milvus: add_batch of {BATCH:,}", "pymilvus by hand, values ready", _TARGET)


def _ready_rows(vectors: Matrix, start: int) -> list[dict[str, Any]]:
    scope, now, stored = Scope("", "by_hand"), time.time(), []
    for i, metadata in enumerate(payloads(start, len(vectors))):
        uid = str(uuid4())
        content = Content.prepared(checked_document(metadata, field="metadata", limits=LIMITS), vectors[i])
        row = StoredRow(
            scope=scope,
            uid=uid,
            pk=primary_key(scope, uid),
            seq=start + i,
            content=content,
            model_id=None,
            source=None,
            session=None,
            place=None,
            created_at=now,
            updated_at=now,
            expires_at=None,
            priority=None,
        )
        stored.append(Stored(row, row.window(None, None)))
    columns = columns_of(stored)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
