"""Full, read-only and failing disks give clear errors and lose no acknowledged record."""

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
    """Yield a file system of 16 MiB of which ten are taken."""
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
    """Add records until the store refuses them, and return the acknowledged uids."""
    uids: list[str] = []

    def add_forever() -> None:
        for i in range(10_000):
            uids.extend(store.add_batch(_vectors(size, i), [{"i": i}] * size))

    with pytest.raises(StoreFullError, match="room") as refused:
        add_forever()
    assert refused.value.retryable
    return uids


def _assert_all_found(store: FAISSVectorStore, uids: list[str]) -> None:
    found = []
    for start in range(0, len(uids), 1_000):
        found += [record.uid for record in store.get(uids[start : start + 1_000])]
    assert found == uids
    assert store.count() == len(uids)
    assert len(store.search(np.ones(DIM), 500)) == min(500, len(uids))


def _pragma(store: FAISSVectorStore, pragma: str) -> int:
    """Run a pragma on the store's own connection, because SQLite bounds pages for each connection by itself."""
    return int(store._rows._writer.execute(f"PRAGMA {pragma}").fetchone()[0])


@pytest.mark.parametrize("size", [1, 100, 1_000])
@pytest.mark.parametrize("index", ["flat", "hnsw"])
def test_full_disk_refuses_writes_until_there_is_room(small_disk: Path, size: int, index: str) -> None:
    """Reads go on, and a reopened store has every acknowledged record."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 * 1024 * 1024))
    with FAISSVectorStore(DIM, small_disk / "store", index=index, buffer_rows=256) as store:  # type: ignore[arg-type]
        uids = _fill(store, size)
        _assert_all_found(store, uids)
        assert store.count({"i": 0}) == (size if uids else 0)
        ballast.unlink()
        uids += store.add_batch(_vectors(1, 99))
        assert store.delete(uids[:1]) == 1
        _assert_all_found(store, uids[1:])
    with FAISSVectorStore(DIM, small_disk / "store", index=index) as store:  # type: ignore[arg-type]
        _assert_all_found(store, uids[1:])


def test_open_on_a_full_disk_refuses_a_new_store_and_keeps_an_old_one(small_disk: Path) -> None:
    """The old store opens whole when there is room again."""
    with FAISSVectorStore(DIM, small_disk / "store") as store:
        uids = store.add_batch(_vectors(100, 1))
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(6 * 1024 * 1024))
    with pytest.raises(StoreFullError, match="room"):
        FAISSVectorStore(DIM, small_disk / "new")
    try:
        with FAISSVectorStore(DIM, small_disk / "store") as store:
            _assert_all_found(store, uids)
    except StoreFullError:
        pass  # opening needs a page of room for SQLite's shared memory
    ballast.unlink()
    with FAISSVectorStore(DIM, small_disk / "store") as store:
        _assert_all_found(store, uids)


def test_database_at_max_page_count_refuses_writes_and_recovers(tmp_path: Path) -> None:
    """SQLite's own bound stands for a full disk where none can be mounted."""
    with FAISSVectorStore(DIM, tmp_path / "store") as store:
        _pragma(store, f"max_page_count = {_pragma(store, 'page_count') + 50}")
        uids = _fill(store, 10)
        _assert_all_found(store, uids)
        _pragma(store, "max_page_count = 1000000")
        uids += store.add_batch(_vectors(100, 5))
        _assert_all_found(store, uids)
    with FAISSVectorStore(DIM, tmp_path / "store") as store:
        _assert_all_found(store, uids)


def test_open_in_a_read_only_folder_raises_store_error(small_disk: Path) -> None:
    """A new store and an existing one raise it with the folder's name."""
    FAISSVectorStore(DIM, small_disk / "store").close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for name in ("store", "new"):
        with pytest.raises(StoreError, match="cannot be written") as refused:
            FAISSVectorStore(DIM, small_disk / name)
        assert str(small_disk / name) in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root; the test above stands in")
def test_open_in_a_folder_without_permission_raises_store_error(tmp_path: Path) -> None:
    """Root ignores permissions, so the test above stands in for it."""
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be written"):
        FAISSVectorStore(DIM, tmp_path / "new")


def test_open_refuses_a_file_a_damaged_database_and_other_settings(tmp_path: Path) -> None:
    """Each error names what is wrong."""
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


def test_failed_flush_stops_writes_until_the_store_is_reopened(
    start_child: StartChild, shims: Callable[[str], Path], tmp_path: Path
) -> None:
    """After EIO the state of the disk is unknown, so no write is acknowledged until then."""
    child = start_child(
        "failing_disk.py",
        tmp_path / "store",
        LD_PRELOAD=str(shims("failing_sync")),
        FAIL_SYNC=str(tmp_path / "failing"),
    )
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    during, after, found, reopened, again = out.splitlines()
    assert during.startswith("during StoreError the disk failed")
    assert after.startswith("after StoreError the disk failed during a write, so this store accepts no more")
    assert found == "found 1 1 1"
    assert reopened == "reopened 1"
    assert again == "again stored"
