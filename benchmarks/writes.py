"""Durable writes of vectors with metadata, beside Chroma's client on the same disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.measure import Bench, Row, alternate, peer_rows, rate, run_callers
from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.types import Matrix

DIM = 384
BATCH = 1_000
CALLERS = 64


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rates of batches of 1,000, then of single vectors from 64 callers, all durable."""
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

            return rate(singles, lambda: bench.loop.run(run_callers(CALLERS, range(singles), add)))

    work = f"add_batch of {BATCH:,}, durable, {total:,} x {DIM}"
    with peer_rows(work, ">= 10x, >= 20,000/s") as found:
        rates = alternate(
            1 if bench.quick else 2, ours_in_batches, lambda: _chroma(next(names), vectors, metadatas, BATCH)
        )
        found.append(rates.row(work, "Chroma, same batches", 10, at_least_per_s=20_000))
    yield from found
    work = f"aadd of one vector, {CALLERS} callers, durable"
    with peer_rows(work, ">= 30x") as found:
        few = 100 if bench.quick else 400
        rates = alternate(
            2 if bench.quick else 4,
            ours_one_by_one,
            lambda: _chroma(next(names), vectors[:few], metadatas[:few], 1),
        )
        found.append(rates.row(work, "Chroma, one by one", 30))
    yield from found


async def _in_batches(store: FAISSVectorStore, vectors: Matrix, metadatas: list[dict]) -> None:
    for start in range(0, len(vectors), BATCH):
        await store.aadd_batch(vectors[start : start + BATCH], metadatas[start : start + BATCH])
        await asyncio.sleep(0)


def _chroma(folder: Path, vectors: Matrix, metadatas: list[dict], batch: int) -> float:
    """Add the records to an empty collection, texts as documents, and return records per second."""
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
    collection = client.create_collection("memories", embedding_function=None, metadata={"hnsw:space": "cosine"})

    def add() -> None:
        for start in range(0, len(vectors), batch):
            part = slice(start, start + batch)
            collection.add(
                ids=[str(i) for i in range(start, start + batch)],
                embeddings=vectors[part],
                metadatas=[{"type": metadata["type"]} for metadata in metadatas[part]],
                documents=[metadata["text"] for metadata in metadatas[part]],
            )

    measured = rate(len(vectors), add)
    assert collection.count() == len(vectors)
    client.close()
    return measured
