"""Tests of the seal policy: segments stay few, and few rows are built twice."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents.stores.faiss.vectors.seal_policy import SealPolicy, SealTask, SegmentSize

CHUNK = 4_096


def _policy(index: str = "auto") -> SealPolicy:
    return SealPolicy.of(index, "fp32", CHUNK)


def _whole(*rows: int) -> list[SegmentSize]:
    return [SegmentSize(n, n) for n in rows]


def test_flat_vectors_are_sealed_only_when_they_are_quantized() -> None:
    """Sealing saves flat vectors nothing but memory."""
    assert SealPolicy.of("flat", "fp32", CHUNK).next_task([], 100) is None
    assert SealPolicy.of("flat", "sq8", CHUNK).next_task([], 1) == SealTask(0, 0, 1)


def test_auto_index_begins_sealing_at_16384_rows() -> None:
    """Fewer rows are compared as fast as a graph of them is walked; once there is a graph, sealing continues."""
    assert _policy().next_task([], 3) is None
    assert _policy().next_task([], 4) == SealTask(0, 0, 4)
    assert _policy().next_task(_whole(100_000), 1) == SealTask(1, 1, 1)


def test_newer_rows_join_a_segment_when_they_are_half_as_many() -> None:
    """They also join every earlier segment that they then outweigh."""
    assert _policy().next_task(_whole(16_384), 1) == SealTask(1, 1, 1)
    assert _policy().next_task(_whole(16_384), 2) == SealTask(0, 1, 2)
    assert _policy().next_task(_whole(100_000, 40_000), 4) == SealTask(0, 2, 4)
    assert _policy().next_task(_whole(100_000, 40_000), 0) is None
    assert _policy().next_task(_whole(100_000, 11_000), 0, idle=True) == SealTask(0, 2, 0)


def test_many_waiting_buffers_are_sealed_roughly_and_become_graphs_later() -> None:
    """A search must not wait for graphs to follow a writer at full speed."""
    policy = _policy()
    assert policy.next_task(_whole(100_000), 8) == SealTask(1, 1, 8, rough=True)
    assert policy.next_task([*_whole(100_000), SegmentSize(32_768, 32_768, rough=True)], 8) == SealTask(
        2, 2, 8, rough=True
    )
    assert policy.next_task([*_whole(100_000), SegmentSize(32_768, 32_768, rough=True)], 1) == SealTask(1, 2, 1)
    assert policy.next_task([*_whole(60_000), SegmentSize(32_768, 32_768, rough=True)], 0) == SealTask(0, 2, 0)
    assert SealPolicy.of("auto", "sq8", CHUNK).next_task(_whole(100_000), 8) == SealTask(1, 1, 8)


def test_segment_is_rebuilt_when_a_third_of_its_rows_is_dead() -> None:
    """It is rebuilt alone, and not with fewer dead rows."""
    assert _policy().next_task([SegmentSize(90_000, 60_001), SegmentSize(9_000, 9_000)], 0) is None
    assert _policy().next_task([SegmentSize(90_000, 59_999), SegmentSize(9_000, 9_000)], 0) == SealTask(0, 1, 0)


def test_segment_of_a_million_rows_is_not_merged() -> None:
    """Building it again would take hours."""
    assert _policy().next_task(_whole(1_000_000, 600_000), 0) is None


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.sampled_from(["hnsw", "auto", "ivf"]))
def test_policy_keeps_few_segments_and_rebuilds_few_rows(bursts: list[int], index: str) -> None:
    """After any rhythm of writes there are about log3(n) segments, and each row was built about log3(n) times."""
    policy = _policy(index)
    sizes: list[int] = []
    rough: list[bool] = []
    full, rows, built = 0, 0, 0
    for burst in bursts:
        full += burst
        while (
            task := policy.next_task([SegmentSize(n, n, r) for n, r in zip(sizes, rough, strict=True)], full)
        ) is not None:
            grown = sum(sizes[task.first : task.stop]) + task.buffers * CHUNK
            built += grown - (sizes[task.first] if task.first < task.stop else 0)
            sizes[task.first : task.stop] = [grown]
            rough[task.first : task.stop] = [task.rough]
            full -= task.buffers
    rows = sum(sizes) + full * CHUNK
    steps = math.log(max(rows / CHUNK, 3), 3)
    assert len(sizes) <= steps + 2
    assert built <= rows * (steps + 2)
    assert full < 4


@pytest.mark.parametrize("idle", [False, True])
def test_policy_has_nothing_due_soon_after_the_last_write(idle: bool) -> None:
    """The number of tasks without a further write is small."""
    sizes, full = [16_384, 8_192, 4_096], 7
    for _ in range(10):
        task = _policy().next_task(_whole(*sizes), full, idle=idle)
        if task is None:
            break
        sizes[task.first : task.stop] = [sum(sizes[task.first : task.stop]) + task.buffers * CHUNK]
        full -= task.buffers
    else:
        pytest.fail("it goes on for ever")
    assert full == 0
