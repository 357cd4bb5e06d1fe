"""Tests of the builder: segments built of segments hold the same rows and share their memory."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from pyroaring import BitMap

from super_advanced_agents.stores.faiss.vectors.arena import VectorMemory
from super_advanced_agents.stores.faiss.vectors.builder import Builder
from super_advanced_agents.stores.faiss.vectors.segment import Positions, Segment
from super_advanced_agents.stores.faiss.vectors.tail import Tail
from super_advanced_agents.stores.options import IndexKind, Storage
from super_advanced_agents.stores.validation import unit_rows
from super_advanced_agents.types import Matrix

DIM, BUFFER = 32, 256


def _going_on() -> bool:
    return False


def _table(n: int, seed: int = 0) -> Matrix:
    """Return vectors near a space of fewer dimensions, as embeddings are."""
    spread = np.random.default_rng(100).standard_normal((8, DIM))
    random = np.random.default_rng(seed)
    points = random.standard_normal((n, 8)) @ spread + 0.1 * random.standard_normal((n, DIM))
    return unit_rows(points.astype(np.float32), field="vectors")


def _chunks(memory: VectorMemory, table: Matrix) -> list[Segment]:
    tail = Tail(memory, BUFFER)
    tail.append(np.arange(1, len(table) + 1, dtype=np.uint32), table)
    return tail.full


def _search(segment: Segment, queries: Matrix, k: int, positions: Positions | None) -> tuple[Matrix, Matrix]:
    """Search as a view does."""
    search = segment.search_exact if segment.is_exact(k, positions) else segment.search_index
    return search(queries, k, positions)


def _recall(segment: Segment, table: Matrix, live: BitMap) -> float:
    rows = np.array(list(live))
    queries = _table(50, 9)
    best = rows[np.argsort(-(queries @ table[rows - 1].T), axis=1)[:, :10]]
    _, found = _search(segment, queries, 20, segment.positions(live))
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(best.tolist(), found.tolist(), strict=True)]))


@pytest.mark.parametrize("storage", ["fp32", "fp16", "sq8"])
@pytest.mark.parametrize("kind", ["hnsw", "ivf", "flat"])
def test_segment_built_in_steps_finds_the_nearest_rows(kind: IndexKind, storage: Storage) -> None:
    """It is built of buffers, then of itself and more buffers, and rows are deleted in between."""
    if (kind, storage) == ("flat", "fp32"):
        return  # never built
    memory, table = VectorMemory(DIM), _table(2_048)
    builder, chunks = Builder(kind, storage, memory), _chunks(memory, table)
    live = BitMap(range(1, 2_049))
    first = builder.build(chunks[:3], live, _going_on)
    assert first is not None
    live -= BitMap(range(5, 100))
    second = builder.build([first.segment(), *chunks[3:]], live, _going_on)
    assert second is not None
    segment = second.segment()
    assert segment.rows.tolist() == list(range(1, 2_049))
    assert segment.lossy is (storage != "fp32")
    assert _recall(segment, table, live) > (0.9 if kind == "ivf" else 0.97)
    np.testing.assert_allclose(segment.vectors_at(np.array([0, 2_047])), table[[0, 2_047]], atol=0.05)
    few = BitMap([200, 300, 2_000])
    _, found = _search(segment, _table(3, 4), 5, segment.positions(few))
    assert {*found.ravel().tolist()} == {200, 300, 2_000}


def test_graph_shares_the_memory_of_its_vectors() -> None:
    """Neither sealing nor growing copies a vector, and none of the codes stays in the graph."""
    memory, table = VectorMemory(DIM), _table(1_024)
    builder, chunks = Builder("hnsw", "fp32", memory), _chunks(memory, table)
    live = BitMap(range(1, 1_025))
    first = builder.build(chunks[:2], live, _going_on)
    assert first is not None
    segment = first.segment()
    second = builder.build([segment, *chunks[2:]], live, _going_on)
    assert second is not None
    assert isinstance(faiss.downcast_index(second.index.storage), faiss.IndexScalarQuantizer)  # type: ignore[union-attr]
    grown = second.segment()
    assert grown.block is not None
    assert chunks[0].block is not None
    assert np.shares_memory(grown.block.vectors, chunks[0].block.vectors)
    assert isinstance(faiss.downcast_index(grown.index.storage), faiss.IndexFlatIP)  # type: ignore[union-attr]
    assert _recall(segment, table, BitMap(range(1, 513))) > 0.97


def test_builder_leaves_dead_rows_out_when_they_are_many() -> None:
    """More than a quarter of the rows is dead, and the others are found as before."""
    memory, table = VectorMemory(DIM), _table(1_024)
    builder, chunks = Builder("hnsw", "fp32", memory), _chunks(memory, table)
    live = BitMap(range(1, 1_025)) - BitMap(range(100, 600))
    built = builder.build(chunks, live, _going_on)
    assert built is not None
    segment = built.segment()
    assert segment.rows.tolist() == list(live)
    assert _recall(segment, table, live) > 0.97


@pytest.mark.parametrize("storage", ["fp32", "sq8"])
def test_builder_makes_no_graph_of_many_equal_vectors(storage: Storage) -> None:
    """No search could walk a graph from one end of many equal vectors to the other."""
    memory, table = VectorMemory(DIM), _table(1_024)
    table[200:900] = table[0]
    builder, chunks = Builder("hnsw", storage, memory), _chunks(memory, table)
    built = builder.build(chunks, BitMap(range(1, 1_025)), _going_on)
    assert built is not None
    assert not isinstance(built.index, faiss.IndexHNSW)
    assert _recall(built.segment(), table, BitMap(range(1, 1_025)) - BitMap(range(201, 901))) == 1


def test_builder_returns_none_when_it_is_interrupted() -> None:
    """No segment is built."""
    memory = VectorMemory(DIM)
    assert (
        Builder("hnsw", "fp32", memory).build(_chunks(memory, _table(512)), BitMap(range(1, 513)), lambda: True) is None
    )


def test_rough_segment_finds_the_nearest_rows() -> None:
    """A graph takes over its vectors later without a copy."""
    memory, table = VectorMemory(DIM), _table(2_048)
    builder, chunks = Builder("hnsw", "fp32", memory), _chunks(memory, table)
    live = BitMap(range(1, 2_049))
    rough = [builder.build_rough(chunks[:4], live).segment(), builder.build_rough(chunks[4:], live).segment()]
    assert _recall(rough[0], table[:1_024], BitMap(range(1, 1_025))) > 0.9
    few = BitMap([200, 300, 1_000])
    _, found = _search(rough[0], _table(3, 4), 5, rough[0].positions(few))
    assert {*found.ravel().tolist()} == {200, 300, 1_000}
    built = builder.build(rough, live, _going_on)
    assert built is not None
    segment = built.segment()
    assert not segment.rough
    assert _recall(segment, table, live) > 0.97
    assert np.shares_memory(segment.vectors_at(None), chunks[0].vectors_at(None))
