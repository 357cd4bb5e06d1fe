"""A full disk, a folder that cannot be written, a disk that fails: clear errors, and nothing told is lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import StoreError, StoreFullError

pytestmark = pytest.mark.crash
StartChild = Callable[..., "subprocess.Popen[str]"]
DIM = 64


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB, ten of them taken."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small file system needs privileges: {mounted.stderr.decode().strip()}")
    (place / "others").write_bytes(bytes(10 * 1024 * 1024))
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def _vectors(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)


def _fill(store: FAISSVectorStore, size: int) -> list[str]:
    """Add until it is refused; the uids that were told."""
    told: list[str] = []

    def add_on() -> None:
        for i in range(10_000):
            told.extend(store.add_batch(_vectors(size, i), [{"i": i}] * size))

    with pytest.raises(StoreFullError, match="room") as refused:
        add_on()
    assert refused.value.retryable
    return told


def _all_there(store: FAISSVectorStore, told: list[str]) -> None:
    found = []
    for start in range(0, len(told), 1_000):
        found += [record.uid for record in store.get(told[start : start + 1_000])]
    assert found == told
    assert store.count() == len(told)
    assert len(store.search(np.ones(DIM), 500)) == min(500, len(told))


@pytest.mark.parametrize("size", [1, 100, 1_000])
@pytest.mark.parametrize("index", ["flat", "hnsw"])
def test_a_full_disk_refuses_writes_until_there_is_room(small_disk: Path, size: int, index: str) -> None:
    """Reads go on; with room, writes go on in the same store; opening again finds all that was told."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 * 1024 * 1024))
    with FAISSVectorStore(DIM, small_disk / "store", index=index, buffer_rows=256) as store:  # type: ignore[arg-type]
        told = _fill(store, size)
        _all_there(store, told)
        assert store.count({"i": 0}) == (size if told else 0)
        ballast.unlink()
        told += store.add_batch(_vectors(1, 99))
        assert store.delete(told[:1]) == 1
        _all_there(store, told[1:])
    with FAISSVectorStore(DIM, small_disk / "store", index=index) as store:  # type: ignore[arg-type]
        _all_there(store, told[1:])


def test_opening_on_a_full_disk(small_disk: Path) -> None:
    """A new store is refused in one sentence; an old one opens when there is room again, whole."""
    with FAISSVectorStore(DIM, small_disk / "store") as store:
        told = store.add_batch(_vectors(100, 1))
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(6 * 1024 * 1024))
    with pytest.raises(StoreFullError, match="room"):
        FAISSVectorStore(DIM, small_disk / "new")
    try:
        with FAISSVectorStore(DIM, small_disk / "store") as store:
            _all_there(store, told)
    except StoreFullError:
        pass  # opening needs a page of room for SQLite's shared memory
    ballast.unlink()
    with FAISSVectorStore(DIM, small_disk / "store") as store:
        _all_there(store, told)


def test_a_database_at_its_largest_refuses_and_recovers(tmp_path: Path) -> None:
    """The same without a small disk: SQLite's own bound says that it is full."""
    with FAISSVectorStore(DIM, tmp_path / "store") as store:
        pages = store._rows._writer.execute("PRAGMA page_count").fetchone()[0]
        store._rows._writer.execute(f"PRAGMA max_page_count = {pages + 50}")
        told = _fill(store, 10)
        _all_there(store, told)
        store._rows._writer.execute("PRAGMA max_page_count = 1000000")
        told += store.add_batch(_vectors(100, 5))
        _all_there(store, told)
    with FAISSVectorStore(DIM, tmp_path / "store") as store:
        _all_there(store, told)


def test_a_read_only_folder_is_told(small_disk: Path) -> None:
    """For a new store and for one that is there."""
    FAISSVectorStore(DIM, small_disk / "store").close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for name in ("store", "new"):
        with pytest.raises(StoreError, match="cannot be written") as refused:
            FAISSVectorStore(DIM, small_disk / name)
        assert str(small_disk / name) in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root; the test above stands in")
def test_a_folder_without_permission_is_told(tmp_path: Path) -> None:
    """Its name is in the message."""
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be written"):
        FAISSVectorStore(DIM, tmp_path / "new")


def test_what_is_no_folder_or_no_store_is_told(tmp_path: Path) -> None:
    """A file where the folder should be; another program's database; something that is no database."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="not a folder"):
        FAISSVectorStore(DIM, tmp_path / "file")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "memory.sqlite3").write_bytes(b"no database" * 1_000)
    with pytest.raises(StoreError, match="damaged"):
        FAISSVectorStore(DIM, tmp_path / "odd")
    with FAISSVectorStore(DIM, tmp_path / "store") as store:
        store.add(np.ones(DIM))
    with pytest.raises(ValueError, match=f"dim={DIM}"):
        FAISSVectorStore(DIM + 1, tmp_path / "store")
    with pytest.raises(ValueError, match="metric=cosine"):
        FAISSVectorStore(DIM, tmp_path / "store", metric="dot")
    FAISSVectorStore(DIM, tmp_path / "store").close()


def test_a_failed_flush_stops_writes_until_reopened(
    start_child: StartChild, shims: Callable[[str], Path], tmp_path: Path
) -> None:
    """After EIO nobody knows what the disk holds, so no write is told until the store was opened again."""
    child = start_child(
        "failing_disk.py",
        tmp_path / "store",
        LD_PRELOAD=str(shims("failing_sync")),
        FAIL_SYNC=str(tmp_path / "failing"),
    )
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    during, after, found, kept, again = out.splitlines()
    assert during.startswith("during StoreError the disk failed")
    assert after.startswith("after StoreError the disk failed during a write, so this store accepts no more")
    assert found == "found 1 1 1"
    assert kept == "kept 1"
    assert again == "again stored"
