"""Tests of the memory of vectors: allotted in order, joined without a copy, and released when unused."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np

from super_advanced_agents.stores.faiss.vectors.arena import Arena, Block, VectorMemory

DIM = 384


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_adjacent_blocks_join_in_place() -> None:
    """The joined block is the same memory; blocks in another order do not join."""
    memory = VectorMemory(DIM)
    first, second, third = (memory.allocate(100) for _ in range(3))
    joined = Block.join([first, second])
    assert joined is not None
    assert joined.vectors.shape == (200, DIM)
    second.vectors[:] = 7
    assert (joined.vectors[100:] == 7).all()
    assert (joined.vectors[:100] == 0).all()
    assert Block.join([first, third]) is None
    assert Block.join([second, first]) is None
    again = Block.join([joined, third])
    assert again is not None
    assert np.shares_memory(again.vectors, third.vectors)


def test_only_written_blocks_take_memory_until_they_are_released() -> None:
    """250 MB are taken and released, though the block that held them last was joined from others."""
    memory = VectorMemory(DIM)
    before = _resident_bytes()
    blocks = [memory.allocate(4_096) for _ in range(40)]
    assert _resident_bytes() - before < 60_000_000
    for block in blocks:
        block.vectors[:] = 1
    joined = Block.join(blocks)
    assert joined is not None
    del block, blocks
    gc.collect()
    assert _resident_bytes() - before > 180_000_000
    assert (joined.vectors == 1).all()
    del joined
    gc.collect()
    assert _resident_bytes() - before < 60_000_000


def test_full_arena_allots_no_block() -> None:
    """A request for more rows than are left returns None and takes nothing."""
    arena = Arena(65_536)
    block = arena.allocate(2)
    assert block is not None
    assert arena.allocate(len(arena.rows)) is None
    assert arena.allocate(len(arena.rows) - 2) is not None
    assert arena.allocate(1) is None
