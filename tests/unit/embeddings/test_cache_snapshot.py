"""Test the snapshot of the vector cache: restarts, damage, other models and periodic writes."""

from __future__ import annotations

import hashlib
import logging
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.unit.embeddings.conftest import HeldEngine

from super_advanced_agents import EmbeddingPipeline
from super_advanced_agents._runtime.queues.shares import active_share
from super_advanced_agents.embeddings import cache_snapshot
from super_advanced_agents.embeddings.cache_snapshot import VectorCacheSnapshot


def _open_pipeline(path: Path, **options: int) -> tuple[EmbeddingPipeline, HeldEngine]:
    engine = HeldEngine()
    engine.may_run.set()
    return EmbeddingPipeline(engine=engine, cache_path=path, **options), engine  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a snapshot whose folder does not exist yet."""
    return tmp_path / "cache" / "embeddings"


@pytest.fixture
def frequent_snapshots(monkeypatch: pytest.MonkeyPatch) -> Callable[[EmbeddingPipeline], None]:
    """Write a snapshot after every two new vectors, and return a function that waits for a running write.

    This reaches into private names, because neither the interval nor the number is a setting, and no public method
    tells when a periodic write has ended.
    """
    monkeypatch.setattr(cache_snapshot, "_SAVE_MIN_INTERVAL_S", 0.0)
    monkeypatch.setattr(cache_snapshot, "_SAVE_MIN_NEW_VECTORS", 2)

    def wait_for_write(pipeline: EmbeddingPipeline) -> None:
        assert pipeline._cache_saver is not None
        pipeline._cache_saver._saver.close()

    return wait_for_write


def test_reopened_pipeline_takes_vectors_from_the_snapshot(path: Path) -> None:
    """`embed` and `embed_batch` both do, and new texts are added to the snapshot."""
    pipeline, _ = _open_pipeline(path)
    with pipeline:
        first = pipeline.embed_batch(["one", "two"])
    pipeline, engine = _open_pipeline(path)
    with pipeline:
        np.testing.assert_array_equal(pipeline.embed("one"), first[0])
        np.testing.assert_array_equal(pipeline.embed_batch(["two", "one"]), first[::-1])
        pipeline.embed("three")
        assert engine.batches == [["three"]]
    pipeline, engine = _open_pipeline(path)
    with pipeline:
        pipeline.embed_batch(["one", "two", "three"])
    assert engine.batches == []


async def test_snapshot_is_loaded_without_blocking_the_event_loop(path: Path) -> None:
    """The thread that opens the engine loads it while `aembed` waits."""
    pipeline, _ = _open_pipeline(path)
    async with pipeline:
        first = await pipeline.aembed("one")
    pipeline, engine = _open_pipeline(path)
    async with pipeline:
        np.testing.assert_array_equal(await pipeline.aembed("one"), first)
    assert engine.batches == []


def test_snapshot_contains_no_text_and_has_mode_0600(path: Path) -> None:
    """No temporary file is left beside it."""
    pipeline, _ = _open_pipeline(path)
    with pipeline:
        pipeline.embed("a secret sentence")
    assert b"secret" not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def _version_1() -> bytes:
    """Return a valid snapshot of the format whose 16-byte keys all tenants shared."""
    header = b'{"model_id":"held","dim":8,"count":1}'
    body = b"SAAVEC\x00\x01" + struct.pack("<I", len(header)) + header
    body += hashlib.blake2b(b"held\0one", digest_size=16).digest() + np.ones(8, "<f4").tobytes()
    return body + hashlib.blake2b(body, digest_size=32).digest()


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "foreign", "long", "folder", "version 1"])
def test_damaged_snapshot_is_ignored_and_written_again(
    path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """A warning is logged, vectors are computed again, and the next close writes a valid file."""
    pipeline, _ = _open_pipeline(path)
    with pipeline:
        first = pipeline.embed("one")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"flipped": bytes(content), "cut": bytes(content[:-1]), "empty": b"", "foreign": b"x" * 200,
                          "long": b"x" * 10_000, "version 1": _version_1()}[damage])  # fmt: skip
    pipeline, engine = _open_pipeline(path, cache_bytes=4_000)
    with caplog.at_level(logging.WARNING), pipeline:
        np.testing.assert_array_equal(pipeline.embed("one"), first)
    assert engine.batches == [["one"]]
    assert "embeddings.cache_ignored" in caplog.messages
    assert path.is_dir() or len(VectorCacheSnapshot(path, max_bytes=10_000).load("held")[0]) == 1


def test_snapshot_of_another_model_is_not_loaded(path: Path) -> None:
    """The model id decides, also when the vectors have the same length."""
    pipeline, _ = _open_pipeline(path)
    with pipeline:
        pipeline.embed("one")
    assert VectorCacheSnapshot(path, max_bytes=10_000).load("other")[0] == []
    assert len(VectorCacheSnapshot(path, max_bytes=10_000).load("held")[0]) == 1


def test_snapshot_contains_the_most_recently_used_vectors(path: Path) -> None:
    """It has no more entries than the cache, in their order of use."""
    pipeline, _ = _open_pipeline(path, cache_entries=3)
    with pipeline:
        for text in ("one", "two", "three", "one", "four"):
            pipeline.embed(text)
    pipeline, engine = _open_pipeline(path, cache_entries=3)
    with pipeline:
        for text in ("one", "three", "four"):
            pipeline.embed(text)
    assert engine.batches == []


def test_snapshot_is_written_periodically_and_only_with_new_vectors(
    path: Path, frequent_snapshots: Callable[[EmbeddingPipeline], None]
) -> None:
    """A crash then loses little, and a pipeline without new vectors writes nothing at its close."""
    pipeline, _ = _open_pipeline(path)
    with pipeline:
        for i in range(5):
            pipeline.embed(str(i))
        frequent_snapshots(pipeline)
        assert len(VectorCacheSnapshot(path, max_bytes=1_000_000).load("held")[0]) >= 2
    written_at = path.stat().st_mtime_ns
    pipeline, _ = _open_pipeline(path)
    with pipeline:
        pipeline.embed("0")
    assert path.stat().st_mtime_ns == written_at


def test_snapshot_keeps_the_vectors_of_each_share_apart(path: Path) -> None:
    """After a restart too, a tenant's text is computed although another tenant's equal text is in the file."""
    pipeline, _ = _open_pipeline(path)
    with pipeline, active_share("a"):
        pipeline.embed("one")
    pipeline, engine = _open_pipeline(path)
    with pipeline:
        with active_share("a"):
            pipeline.embed("one")
        assert engine.batches == []
        with active_share("b"):
            pipeline.embed("one")
    assert engine.batches == [["one"]]
