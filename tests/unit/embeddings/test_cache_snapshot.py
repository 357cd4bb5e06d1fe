"""Vectors outlast a restart; what is wrong with their file costs no more than computing them again."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import numpy as np
import pytest
from tests.unit.embeddings.conftest import HeldEngine

from super_advanced_agents import EmbeddingPipeline
from super_advanced_agents.embeddings import cache_snapshot as kept_cache
from super_advanced_agents.embeddings.cache_snapshot import VectorCacheSnapshot


def _opened(path: Path, **options: int) -> tuple[EmbeddingPipeline, HeldEngine]:
    engine = HeldEngine()
    engine.blocked_run.set()
    return EmbeddingPipeline(engine=engine, cache_path=path, **options), engine  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where vectors are kept, in a folder that is not there yet."""
    return tmp_path / "cache" / "embeddings"


def test_a_text_is_computed_once_for_all_openings(path: Path) -> None:
    """By `embed` and by `embed_batch`; new texts are added to what was kept."""
    pipeline, _ = _opened(path)
    with pipeline:
        first = pipeline.embed_batch(["one", "two"])
    pipeline, engine = _opened(path)
    with pipeline:
        np.testing.assert_array_equal(pipeline.embed("one"), first[0])
        np.testing.assert_array_equal(pipeline.embed_batch(["two", "one"]), first[::-1])
        pipeline.embed("three")
        assert engine.batches == [["three"]]
    pipeline, engine = _opened(path)
    with pipeline:
        pipeline.embed_batch(["one", "two", "three"])
    assert engine.batches == []


async def test_it_is_read_off_the_event_loop(path: Path) -> None:
    """By the thread that opens the engine; a caller of `aembed` waits for it without blocking others."""
    pipeline, _ = _opened(path)
    async with pipeline:
        first = await pipeline.aembed("one")
    pipeline, engine = _opened(path)
    async with pipeline:
        np.testing.assert_array_equal(await pipeline.aembed("one"), first)
    assert engine.batches == []


def test_no_text_is_written_and_nobody_else_may_read(path: Path) -> None:
    """Digests and vectors alone, for this user; no temporary file is left."""
    pipeline, _ = _opened(path)
    with pipeline:
        pipeline.embed("a secret sentence")
    assert b"secret" not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "foreign", "long", "folder"])
def test_a_damaged_file_is_left_aside(path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    """A line is logged, vectors are computed again, and the next close writes a file that is whole."""
    pipeline, _ = _opened(path)
    with pipeline:
        first = pipeline.embed("one")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"flipped": bytes(content), "cut": bytes(content[:-1]), "empty": b"", "foreign": b"x" * 200,
                          "long": b"x" * 10_000}[damage])  # fmt: skip
    pipeline, engine = _opened(path, cache_bytes=4_000)
    with caplog.at_level(logging.WARNING), pipeline:
        np.testing.assert_array_equal(pipeline.embed("one"), first)
    assert engine.batches == [["one"]]
    assert "embeddings.cache_ignored" in caplog.messages
    assert path.is_dir() or len(VectorCacheSnapshot(path, max_bytes=10_000).load("held")[0]) == 1


def test_vectors_of_another_model_are_not_taken(path: Path) -> None:
    """Whatever their length."""
    pipeline, _ = _opened(path)
    with pipeline:
        pipeline.embed("one")
    assert VectorCacheSnapshot(path, max_bytes=10_000).load("other")[0] == []
    assert len(VectorCacheSnapshot(path, max_bytes=10_000).load("held")[0]) == 1


def test_what_was_used_last_is_kept(path: Path) -> None:
    """No more is written than the cache holds, and the order of use is not lost."""
    pipeline, _ = _opened(path, cache_entries=3)
    with pipeline:
        for text in ("one", "two", "three", "one", "four"):
            pipeline.embed(text)
    pipeline, engine = _opened(path, cache_entries=3)
    with pipeline:
        for text in ("one", "three", "four"):
            pipeline.embed(text)
    assert engine.batches == []


def test_it_is_written_now_and_then(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a crash costs little; an idle pipeline writes nothing at its close."""
    monkeypatch.setattr(kept_cache, "_SAVE_MIN_INTERVAL_S", 0.0)
    monkeypatch.setattr(kept_cache, "_SAVE_MIN_NEW_VECTORS", 2)
    pipeline, _ = _opened(path)
    with pipeline:
        for i in range(5):
            pipeline.embed(str(i))
        assert pipeline._cache_saver is not None
        pipeline._cache_saver._saver.close()
        assert len(VectorCacheSnapshot(path, max_bytes=1_000_000).load("held")[0]) >= 2
    written = path.stat().st_mtime_ns
    pipeline, _ = _opened(path)
    with pipeline:
        pipeline.embed("0")
    assert path.stat().st_mtime_ns == written
