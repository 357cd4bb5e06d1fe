"""Files of an open store that others remove, replace, empty or cut: its writes stop, and nothing is lost in silence."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.stores.conftest import DIM, vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import CorruptStoreError, StoreError
from super_advanced_agents.stores.faiss.rows import write_ahead_log
from super_advanced_agents.stores.faiss.rows.table import RecordTable

Open = Callable[..., FAISSVectorStore]
DATABASE, LOG, LOCK, NOTE = "memory.sqlite3", "memory.sqlite3-wal", "owner.lock", "memory.sqlite3-damaged"


def _remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def _resize(name: str, size: int) -> Callable[[Path], object]:
    return lambda folder: os.truncate(folder / name, size)


def _replace(name: str) -> Callable[[Path], object]:
    def replace(folder: Path) -> None:
        shutil.copy(folder / name, folder / "copy")
        (folder / "copy").rename(folder / name)

    return replace


def _move(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


HARMS = {
    "database removed": _remove(DATABASE),
    "database replaced": _replace(DATABASE),
    "database emptied": _resize(DATABASE, 0),
    "database cut": _resize(DATABASE, 4_096),
    "log emptied": _resize(LOG, 0),
    "log cut": _resize(LOG, 4_096),
}


@pytest.mark.parametrize("harm", [*HARMS.values(), _move], ids=[*HARMS, "folder moved"])
def test_store_that_lost_a_file_refuses_writes_and_opens_only_after_a_decision(
    opened: Open, tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    """What was acknowledged before may be missing, so opening it again says so until the note is removed."""
    store = opened()
    store.add_batch(vectors(5), None, list("abcde"))
    store.check_files()
    harm(tmp_path / "store")
    for _ in range(2):
        with pytest.raises(StoreError, match="so writes have stopped"):
            store.add(vectors(1)[0], None, "f")
    with pytest.raises(StoreError, match="so writes have stopped"):
        store.check_files()
    store.close()
    with pytest.raises(CorruptStoreError, match="acknowledged writes may be missing") as caught:
        opened()
    assert "-damaged" in (caught.value.hint or "")
    assert str(tmp_path) not in str(caught.value)


def test_write_is_not_acknowledged_whose_file_is_removed_before_its_commit_ends(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is looked at after the commit too: here the file is removed between the two."""
    store = opened()
    store.add(vectors(1)[0], None, "a")
    add = RecordTable.add

    def remove_then_add(table: RecordTable, *arguments: object) -> object:
        (tmp_path / "store" / DATABASE).unlink()
        return add(table, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(RecordTable, "add", remove_then_add)
    with pytest.raises(StoreError, match="was removed under this process"):
        store.add(vectors(1)[0], None, "b")


@pytest.mark.parametrize("harm", [_remove(LOG), _replace(LOG)], ids=["removed", "replaced"])
@pytest.mark.parametrize("noticed_by", ["write", "check"])
def test_content_of_a_lost_log_is_saved_to_the_database(
    opened: Open, tmp_path: Path, harm: Callable[[Path], object], noticed_by: str
) -> None:
    """Nobody else has what was acknowledged last; the database alone, as a kill would leave it, holds all of it."""
    store = opened()
    store.add_batch(vectors(5), None, list("abcde"))
    harm(tmp_path / "store")
    with pytest.raises(StoreError, match=r"memory\.sqlite3-wal"):
        store.check_files() if noticed_by == "check" else store.add(vectors(1)[0], None, "f")
    (tmp_path / "killed").mkdir()
    shutil.copy(tmp_path / "store" / DATABASE, tmp_path / "killed")
    with FAISSVectorStore(store.dim, tmp_path / "killed") as left:
        assert [record.uid for record in left.scan()] == list("abcde")
    store.close()
    assert opened().count() == 5
    assert not (tmp_path / "store" / NOTE).exists()


@pytest.fixture
def strange_log(tmp_path: Path) -> Path:
    """A write-ahead log of another store, which SQLite would replay into any database that it stands beside."""
    with FAISSVectorStore(DIM, tmp_path / "other") as other:
        other.add_batch(vectors(3), None, list("xyz"))
        return shutil.copy(tmp_path / "other" / LOG, tmp_path / "strange")


@pytest.mark.parametrize("put", ["instead of the log", "later"])
def test_strange_log_put_under_a_running_store_is_never_replayed(
    opened: Open, tmp_path: Path, strange_log: Path, put: str
) -> None:
    """The next start refuses it, after a kill too, and goes on with all that was acknowledged once it is gone."""
    store, folder, killed = opened(), tmp_path / "store", tmp_path / "killed"
    store.add_batch(vectors(5), None, list("abcde"))
    (folder / LOG).rename(folder / "own-log")
    if put == "later":
        with pytest.raises(StoreError):
            store.check_files()
    shutil.copy(strange_log, folder / LOG)
    with pytest.raises(StoreError):
        store.check_files()
    shutil.copytree(folder, killed)  # as a kill would leave it
    for _ in range(2):
        with pytest.raises(CorruptStoreError, match="not the log of this database") as caught:
            opened(killed)
        assert LOG in (caught.value.hint or "")
    (killed / LOG).unlink()
    assert [record.uid for record in opened(killed).scan()] == list("abcde")
    assert not (killed / NOTE).exists()


@pytest.mark.parametrize("first", [LOG, LOCK])
def test_database_that_is_replaced_after_another_file_was_lost_is_noticed(
    opened: Open, tmp_path: Path, first: str
) -> None:
    """What was saved into the database before is not in the file that has taken its place."""
    store = opened()
    store.add_batch(vectors(5), None, list("abcde"))
    for harm in (_remove(first), _replace(DATABASE)):
        harm(tmp_path / "store")
        with pytest.raises(StoreError):
            store.check_files()
    store.close()
    with pytest.raises(CorruptStoreError, match=r"'memory\.sqlite3' was replaced"):
        opened()


def test_removed_lock_file_stops_writes_and_the_next_start_finds_everything(opened: Open, tmp_path: Path) -> None:
    """The database itself is in order, so nothing has to be decided."""
    store = opened()
    store.add(vectors(1)[0], None, "a")
    (tmp_path / "store" / LOCK).unlink()
    with pytest.raises(StoreError, match=r"'owner\.lock' was removed"):
        store.add(vectors(1)[0], None, "b")
    store.close()
    assert [record.uid for record in opened().scan()] == ["a"]


def test_store_is_not_made_anew_beside_the_log_of_a_missing_database(opened: Open, tmp_path: Path) -> None:
    """SQLite would delete the log, which holds acknowledged writes."""
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / LOG).write_bytes(b"acknowledged")
    with pytest.raises(CorruptStoreError, match="write-ahead log is there"):
        opened()
    assert (folder / LOG).read_bytes() == b"acknowledged"


def test_store_opens_with_what_is_left_once_the_note_is_removed(opened: Open, tmp_path: Path) -> None:
    """The operator has decided; here a copy was put in the database's place."""
    store = opened()
    store.add_batch(vectors(3), None, list("abc"))
    _replace(DATABASE)(tmp_path / "store")
    with pytest.raises(StoreError):
        store.check_files()
    (tmp_path / "store" / NOTE).unlink()
    store.close()
    assert opened().count() <= 3


def test_closing_a_store_raises_no_alarm(opened: Open, tmp_path: Path) -> None:
    """SQLite deletes the log then, while another thread may be looking at the files."""
    store = opened()
    store.add(vectors(1)[0], None, "a")
    store.close()
    store.check_files()
    assert not (tmp_path / "store" / LOG).exists()
    assert opened().count() == 1


def test_long_log_is_truncated_by_the_store_itself_without_alarm(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only others count."""
    monkeypatch.setattr(write_ahead_log, "_LOG_BYTES", 0)  # private: a log is truncated from 64 MiB on
    store = opened()
    for i in range(3):
        store.add(vectors(1)[0], None, str(i))
        store.check_files()
    store.add(vectors(1)[0], None, "last")
    assert store.count() == 4
