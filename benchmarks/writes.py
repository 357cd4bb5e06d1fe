"""Durable writes of vectors with metadata, beside Chroma's persistent client on the same disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.measure import Bench, Row, alternate, crowd, peer, rate
from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.types import Matrix

DIM = 384
BATCH = 1_000
CALLERS = 64


def rows(bench: Bench) -> Iterator[Row]:
    """Batches of 1,000 into an empty store, then single vectors from 64 callers; ours is durable when it returns."""
    total = 4_000 if bench.quick else 20_000
    vectors = np.random.default_rng(0).standard_normal((total, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    metadatas = [{"text": f"memory number {i}, as long as a short sentence is", "type": "fact"} for i in range(total)]
    names = (bench.folder / f"writes-{i}" for i in count())

    def ours_in_batches() -> float:
        with FAISSVectorStore(DIM, next(names)) as store:
            return rate(total, lambda: bench.loop.run(_in_batches(store, vectors, metadatas)))

    def ours_one_by_one() -> float:
        singles = total // 4
        with FAISSVectorStore(DIM, next(names)) as store:

            async def add(i: int) -> None:
                await store.aadd(vectors[i], metadatas[i])

            return rate(singles, lambda: bench.loop.run(crowd(CALLERS, range(singles), add)))

    work = f"add_batch of {BATCH:,}, durable, {total:,} x {DIM}"
    with peer(work, ">= 10x, >= 20,000/s") as found:
        rates = alternate(
            1 if bench.quick else 2, ours_in_batches, lambda: _chroma(next(names), vectors, metadatas, BATCH)
        )
        found.append(rates.row(work, "Chroma, same batches", 10, at_least_per_s=20_000))
    yield from found
    work = f"aadd of one vector, {CALLERS} callers, durable"
    with peer(work, ">= 30x") as found:
        few = 100 if bench.quick else 400
        rates = alternate(
            2 if bench.quick else 4, ours_one_by_one, lambda: _chroma(next(names), vectors[:few], metadatas[:few], 1)
        )
        found.append(rates.row(work, "Chroma, one by one", 30))
    yield from found


async def _in_batches(store: FAISSVectorStore, vectors: Matrix, metadatas: list[dict]) -> None:
    for start in range(0, len(vectors), BATCH):
        await store.aadd_batch(vectors[start : start + BATCH], metadatas[start : start + BATCH])
        await asyncio.sleep(0)


def _chroma(folder: Path, vectors: Matrix, metadatas: list[dict], batch: int) -> float:
    """The same records into an empty collection, with the text as its document; returns records a second."""
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
    collection = client.create_collection("memories", embedding_function=None, metadata={"hnsw:space": "cosine"})

    def add() -> None:
        for start in range(0, len(vectors), batch):
            chosen = slice(start, start + batch)
            collection.add(
                ids=[str(i) for i in range(start, start + batch)],
                embeddings=vectors[chosen],
                metadatas=[{"type": each["type"]} for each in metadatas[chosen]],
                documents=[each["text"] for each in metadatas[chosen]],
            )

    measured = rate(len(vectors), add)
    assert collection.count() == len(vectors)
    client.close()
    return measured
