"""Vectors that resemble embeddings of text, made by blocks, and the exact answers to queries over them.

No graph can search vectors of random direction: all are equally far from a query. Embeddings of text lie near few
dimensions, and in clusters. These come from 3,000 clusters in 64 dimensions, mapped to 384 with a little noise. A
query's first and tenth neighbour are as like it as in LoCoMo with the default model (0.63 and 0.52).
"""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.locomo import sentence
from super_advanced_agents.types import Matrix, Metadata

DIM = 384
BLOCK = 10_000
GROUPS = 100
K = 10
_LATENT = 64
_CLUSTERS = 3_000
_SPREAD = 0.8
_NOISE = 0.15
_SHAPE, _ROWS, _QUERIES = range(3)


def blocks(count: int) -> Iterator[tuple[int, Matrix]]:
    """The first `count` vectors: (number of the first, (n, 384) of length 1) a block; more only continue fewer."""
    shape = _shape()
    for start in range(0, count, BLOCK):
        yield start, _like(shape, BLOCK, (_ROWS, start // BLOCK))[: count - start]


def queries(count: int) -> Matrix:
    """(count, 384) of the same distribution; none of them is a member."""
    return _like(_shape(), count, (_QUERIES, count))


def payloads(start: int, count: int) -> list[Metadata]:
    """The metadata of `count` rows from one on: each of 100 groups holds 1% of the rows."""
    kinds = ("fact", "event", "preference")
    return [
        {"type": kinds[i % len(kinds)], "text": sentence(i), "group": i % GROUPS} for i in range(start, start + count)
    ]


def truth(asked: Matrix, count: int, groups: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """The numbers (m, 10) of the nearest among the first `count`; of the group of each query where `groups` says so."""
    scores = np.full((len(asked), K), -np.inf, dtype=np.float32)
    numbers = np.full((len(asked), K), -1, dtype=np.int64)
    for start, vectors in blocks(count):
        rows = np.arange(start, start + len(vectors))
        if groups is None:
            _nearer(scores, numbers, np.arange(len(asked)), asked, rows, vectors)
            continue
        for group in np.unique(groups):
            mine, of_group = np.flatnonzero(groups == group), rows % GROUPS == group
            _nearer(scores, numbers, mine, asked, rows[of_group], vectors[of_group])
    return numbers


def recall(found: list[list[int]], wanted: NDArray[np.int64]) -> float:
    """The share of the wanted ones that were found, averaged over the queries."""
    shares = [len(set(mine) & set(theirs.tolist())) / K for mine, theirs in zip(found, wanted, strict=True)]
    return float(np.mean(shares))


def _nearer(scores: Matrix, numbers: NDArray, mine: NDArray, asked: Matrix, rows: NDArray, vectors: Matrix) -> None:
    """Let the rows that are nearer to the queries `mine` take the places of those found before."""
    flat = faiss.IndexFlatIP(DIM)
    flat.add(vectors)
    similarity, positions = flat.search(asked[mine], min(K, len(rows)))
    together = np.concatenate([scores[mine], similarity], axis=1)
    named = np.concatenate([numbers[mine], rows[positions]], axis=1)
    order = np.argsort(-together, axis=1, kind="stable")[:, :K]
    scores[mine] = np.take_along_axis(together, order, axis=1)
    numbers[mine] = np.take_along_axis(named, order, axis=1)


def _shape() -> tuple[Matrix, Matrix, Matrix]:
    """The clusters' centres, how far each latent dimension reaches, and the map to 384 dimensions."""
    random = np.random.default_rng([_SHAPE])
    reach = np.arange(1, _LATENT + 1, dtype=np.float32)[None] ** -0.25
    centres = random.standard_normal((_CLUSTERS, _LATENT), dtype=np.float32) * reach
    return centres, reach, random.standard_normal((_LATENT, DIM), dtype=np.float32) / np.float32(_LATENT**0.5)


def _like(shape: tuple[Matrix, Matrix, Matrix], count: int, seed: tuple[int, int]) -> Matrix:
    centres, reach, wide = shape
    random = np.random.default_rng(seed)
    latent = centres[random.integers(0, len(centres), count)]
    latent = latent + _SPREAD * reach * random.standard_normal(latent.shape, dtype=np.float32)
    vectors = (latent @ wide).astype(np.float32)
    vectors += np.float32(_NOISE) * random.standard_normal(vectors.shape, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
