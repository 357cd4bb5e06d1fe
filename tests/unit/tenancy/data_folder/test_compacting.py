"""Test which copies of a data folder are told to its operator after an erasure, and the receipts of expiry."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.errors import StoreError
from super_advanced_agents.server.audit_log import AuditLog
from super_advanced_agents.server.observing.expiries import ExpiryReceipts
from super_advanced_agents.stores.local.maintenance import compact_store
from super_advanced_agents.telemetry import counter
from super_advanced_agents.tenancy.data_folder.compacting import old_copies
from super_advanced_agents.tenancy.data_folder.recording import record_entry
from super_advanced_agents.tenancy.settings import Settings


@pytest.fixture
def settings(tmp_path):
    """Return the settings of a data folder whose backups and files are elsewhere, with one of each, an hour old."""
    places = {"data_dir": tmp_path / "data", "backups_dir": tmp_path / "b", "files_dir": tmp_path / "f"}
    for path in (tmp_path / "b" / "backup-1", tmp_path / "f" / "default"):
        path.mkdir(parents=True)
    (tmp_path / "f" / "default" / "notes.md").write_text("uploaded")
    (tmp_path / "b" / "backup-1" / "memory.sqlite3").write_text("copied")
    then = time.time() - 3600
    for path in (tmp_path / "b" / "backup-1", tmp_path / "f" / "default" / "notes.md"):
        os.utime(path, (then, then))
    places["data_dir"].mkdir()
    return Settings.load(**places)


def _store_with_expired_row(settings, *, expired_s, seen_s):
    """Make a store with a row that expired some seconds ago, and a reading of the clock some seconds ago."""
    with FAISSVectorStore(2, settings.store_dir) as store:
        store.add(np.array([1, 0], np.float32), None, "kept")
        store.add(np.array([0, 1], np.float32), None, "old", expires_in_s=3600)
    with closing(sqlite3.connect(settings.store_dir / "memory.sqlite3")) as connection, connection:
        now = time.time()
        connection.execute("UPDATE records SET expires_at = ? WHERE uid = 'old'", (now - expired_s,))
        connection.execute("INSERT OR REPLACE INTO settings VALUES ('clock_seen', ?)", (repr(now - seen_s),))


def _names(copies):
    return [copy.path.name for copy in copies]


def test_copies_are_listed_once_something_was_erased(settings):
    """Wherever the folders of backups and files are; without an erasure there are none."""
    record_entry(settings, "remember", key_id="user:1", protocol="command")
    assert old_copies(settings) == []
    record_entry(settings, "forgetMemories", key_id="user:1", protocol="command")
    assert _names(old_copies(settings)) == ["backup-1", "notes.md"]


def test_copies_are_all_listed_without_an_audit_log(settings):
    """Nobody can say that nothing was erased since."""
    assert _names(old_copies(settings)) == ["backup-1", "notes.md"]


def test_expiry_in_a_running_store_is_an_erasure(settings):
    """Nobody asked for it, and a copy may hold what it deleted all the same."""
    record_entry(settings, "remember", key_id="user:1", protocol="command")
    _store_with_expired_row(settings, expired_s=300, seen_s=200)
    assert old_copies(settings) == []
    with FAISSVectorStore(2, settings.store_dir) as store:
        while store.stats()["swept"] != 1:
            time.sleep(0.01)
    assert _names(old_copies(settings)) == ["backup-1", "notes.md"]


@pytest.mark.parametrize(
    ("seen_s", "expected"),
    [(200, (1, 0)), (400, (0, 1)), (10, (0, 1)), (-900, (0, 1))],
    ids=["seen expired long ago", "seen before its end", "seen just now", "clock was set back"],
)
def test_compaction_deletes_what_the_clock_has_said_twice(settings, seen_s, expected):
    """As a running store does; the rest is counted, and deleted by the next compaction a minute later."""
    _store_with_expired_row(settings, expired_s=300, seen_s=seen_s)
    done = compact_store(settings.store_dir)
    assert (done.expired, done.waiting) == expected
    with FAISSVectorStore(2, settings.store_dir) as store:
        assert [record.uid for record in store.get(["kept", "old"]) if record is not None] == ["kept"]


def test_store_of_a_newer_version_is_not_compacted(settings):
    """Its rows may have another meaning."""
    _store_with_expired_row(settings, expired_s=300, seen_s=200)
    with closing(sqlite3.connect(settings.store_dir / "memory.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer version"):
        compact_store(settings.store_dir)


async def test_server_records_how_many_records_expired(settings):
    """Once for each, without a tenant, since lifetimes ended them."""
    async with AuditLog(settings.data_dir) as log:
        receipts = ExpiryReceipts(log)
        await receipts.arecord()
        counter("store_records_expired").add(3)
        await receipts.arecord()
        await receipts.arecord()
    entries = await in_thread(log.files.newest, name="read audit")
    assert [(entry["operation"], entry["items"], entry["tenant"]) for entry in entries] == [("expire", 3, "")]
