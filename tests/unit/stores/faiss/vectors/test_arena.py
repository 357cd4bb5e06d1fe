"""The memory of vectors: handed out in order, joined without a copy, given back when nobody shows it."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np

from super_advanced_agents.stores.faiss.vectors.arena import Arena, Block, VectorMemory

DIM = 384


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_blocks_lie_one_behind_the_other_and_join_in_place() -> None:
    """The joined block is the same memory."""
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


def test_only_what_is_written_takes_memory_and_it_goes_back() -> None:
    """250 MB come and go, though the block they were joined into was made of others."""
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


def test_a_full_arena_hands_out_no_more() -> None:
    """What asks for more rows than are left gets none; what there is stays."""
    arena = Arena(65_536)
    block = arena.allocate(2)
    assert block is not None
    assert arena.allocate(len(arena.rows)) is None
    assert arena.allocate(len(arena.rows) - 2) is not None
    assert arena.allocate(1) is None
