"""The write-ahead log of an open store keeps forgotten texts for a bounded time only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.stores.conftest import vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.stores.faiss.rows import write_ahead_log

Open = Callable[..., FAISSVectorStore]


def _holds(folder: Path, word: bytes) -> list[str]:
    return [file.name for file in folder.iterdir() if file.is_file() and word in file.read_bytes()]


@pytest.mark.parametrize("idle", [False, True], ids=["by the next write", "by the check of an idle store"])
@pytest.mark.parametrize("how", ["deleted", "replaced", "changed"])
def test_forgotten_text_leaves_every_file_of_an_open_store_after_a_minute(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, idle: bool
) -> None:
    """Up to then the log may hold it; a server checks its files four times a second."""
    folder = tmp_path / "store"
    store = opened()
    store.add(vectors(1)[0], {"text": "quagmire"}, "a")
    if how == "deleted":
        store.delete(["a"])
    elif how == "replaced":
        store.add(vectors(1)[0], {"text": "other"}, "a")
    else:
        store.update("a", {"text": "other"})
    store.check_files()
    assert _holds(folder, b"quagmire") == ["memory.sqlite3-wal"]
    monkeypatch.setattr(write_ahead_log, "FORGET_S", 0.0)  # as if the minute had passed
    if idle:
        store.check_files()
    else:
        store.add(vectors(1)[0], None, "b")
    assert _holds(folder, b"quagmire") == []
    store.check_files()
