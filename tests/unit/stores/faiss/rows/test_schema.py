"""Tests of opening a store of schema 1: `tests/data/store-v1` was written by its code, with its results."""

from __future__ import annotations

import json
import logging
import math
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents._runtime.disk import sqlite
from super_advanced_agents.errors import ConfigurationError, StoreError, StoreFullError
from super_advanced_agents.stores.faiss.rows import schema
from super_advanced_agents.types import Match

OLD = Path(__file__).resolve().parents[4] / "data" / "store-v1"
ANSWERS = json.loads((OLD / "answers.json").read_text(encoding="utf-8"))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with a copy of the old store."""
    return _copied(tmp_path / "store")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small file system needs privileges: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def _copied(folder: Path) -> Path:
    folder.mkdir()
    shutil.copy(OLD / "memory.sqlite3", folder)
    return folder


def _version(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _content(file: Path) -> dict[str, list[Any]]:
    """The columns of schema 1, row by row."""
    with closing(sqlite3.connect(file)) as connection:
        columns = "seq, scope, uid, text, metadata, model, source, created_at, updated_at, expires_at, session, place"
        return {
            "records": connection.execute(f"SELECT {columns} FROM records ORDER BY seq").fetchall(),
            "vectors": connection.execute("SELECT * FROM vectors ORDER BY seq").fetchall(),
            "settings": connection.execute("SELECT * FROM settings").fetchall(),
            "scopes": connection.execute("SELECT id, tenant, namespace FROM scopes ORDER BY id").fetchall(),
        }


def _at(degrees: float) -> list[float]:
    turned = math.radians(degrees)
    return [math.cos(turned), math.sin(turned), 0.0, 0.0]


def _assert_found(found: list[Match], expected: list[Any]) -> None:
    assert [(match.uid, match.metadata) for match in found] == [(uid, metadata) for uid, _, metadata in expected]
    assert [match.score for match in found] == pytest.approx([score for _, score, _ in expected], abs=1e-5)


def _assert_answers_as_before(store: FAISSVectorStore) -> None:
    records = store.scan(limit=100)
    assert len(records) == len(ANSWERS["records"])
    for record, expected in zip(records, ANSWERS["records"], strict=True):
        np.testing.assert_array_equal(record.vector, np.array(expected["vector"], np.float32))
        assert {name: getattr(record, name) for name in expected if name != "vector"} == {
            name: value for name, value in expected.items() if name != "vector"
        }
    for where, namespace, count in ANSWERS["counts"]:
        assert store.count(where, namespace=namespace) == count
    for degrees, namespace, where, expected in ANSWERS["searches"]:
        _assert_found(store.search(_at(degrees), 20, namespace=namespace, where=where), expected)
    for text, namespace, expected in ANSWERS["keywords"]:
        _assert_found(store.search_keywords(text, 10, namespace=namespace), expected)
    for text, degrees, expected in ANSWERS["hybrid"]:
        _assert_found(store.search_hybrid(_at(degrees), text, 10), expected)


def test_migrated_store_returns_its_old_records_and_results(old: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the backup of the old file."""
    with caplog.at_level(logging.INFO, "super_advanced_agents.store"), FAISSVectorStore(4, old) as store:
        _assert_answers_as_before(store)
    [migrated] = [record for record in caplog.records if record.message == "store.migrated"]
    assert migrated.__dict__["backup"] == str(old / "memory.sqlite3.v1-backup")
    assert _version(old / "memory.sqlite3") == schema.VERSION


def test_migration_leaves_a_backup_equal_to_the_old_file(old: Path) -> None:
    """The backup has the old version and its own name, and no partial file is left."""
    before = _content(old / "memory.sqlite3")
    with FAISSVectorStore(4, old):
        pass
    assert _version(old / "memory.sqlite3.v1-backup") == 1
    assert _content(old / "memory.sqlite3.v1-backup") == before
    assert _content(old / "memory.sqlite3") == before
    assert not list(old.glob("*.partial*"))


def test_second_opening_does_not_migrate_again(old: Path) -> None:
    """The backup stays as it was, and writes succeed."""
    with FAISSVectorStore(4, old) as store:
        store.add(_at(1), {"text": "new"}, "new")
    before = (old / "memory.sqlite3.v1-backup").stat()
    with FAISSVectorStore(4, old) as store:
        assert [record.text for record in store.get(["new", "museum"])] == ["new", "The museum opens at nine."]
        store.delete(["new"])
        _assert_answers_as_before(store)
    assert (old / "memory.sqlite3.v1-backup").stat() == before


def test_kill_before_the_commit_leaves_the_old_schema(old: Path) -> None:
    """Every statement was executed and none committed; the file is as it was, and opens later."""
    before = _content(old / "memory.sqlite3")
    connection = sqlite.connect(old / "memory.sqlite3")
    connection.execute("BEGIN IMMEDIATE")
    for number in range(2, schema.VERSION + 1):
        for statement in schema.MIGRATIONS[number]:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")
    copied = old.with_name("killed")  # what a kill would leave: the files as they are now
    shutil.copytree(old, copied)
    connection.close()
    for folder in (old, copied):
        assert _version(folder / "memory.sqlite3") == 1
        assert _content(folder / "memory.sqlite3") == before
        with FAISSVectorStore(4, folder) as store:
            _assert_answers_as_before(store)


def test_migration_on_a_full_disk_is_refused_and_changes_nothing(small_disk: Path) -> None:
    """No partial backup stays, and the same folder opens when there is room."""
    folder = _copied(small_disk / "store")
    before = _content(folder / "memory.sqlite3")
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        written = file.write(bytes(512 * 1024))  # as much as there is room for
        assert written < 512 * 1024
    with ballast.open("r+b") as file:
        file.truncate(written - 64 * 1024)  # enough to open, too little for a copy
    with pytest.raises(StoreFullError, match="as it was"):
        FAISSVectorStore(4, folder)
    assert _version(folder / "memory.sqlite3") == 1
    assert _content(folder / "memory.sqlite3") == before
    assert not list(folder.glob("*backup*"))
    ballast.unlink()
    with FAISSVectorStore(4, folder) as store:
        _assert_answers_as_before(store)


def test_migration_is_refused_when_its_backup_cannot_be_written(old: Path) -> None:
    """A folder has the name of the backup, and the old store stays as it was."""
    before = _content(old / "memory.sqlite3")
    (old / "memory.sqlite3.v1-backup").mkdir()
    with pytest.raises(StoreError):
        FAISSVectorStore(4, old)
    assert (_version(old / "memory.sqlite3"), _content(old / "memory.sqlite3")) == (1, before)
    (old / "memory.sqlite3.v1-backup").rmdir()
    with FAISSVectorStore(4, old) as store:
        assert store.count() == len(ANSWERS["records"])


def test_wrong_dimension_is_refused_before_a_migration(old: Path) -> None:
    """The old store is neither copied nor changed."""
    with pytest.raises(ConfigurationError, match="dim=4"):
        FAISSVectorStore(8, old)
    assert _version(old / "memory.sqlite3") == 1
    assert not list(old.glob("*backup*"))


def test_store_of_a_newer_schema_is_refused(old: Path) -> None:
    """This version does not change a file that it cannot understand."""
    with closing(sqlite3.connect(old / "memory.sqlite3")) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(StoreError, match="upgrade"):
        FAISSVectorStore(4, old)


def test_migrated_store_has_the_tables_of_a_new_one(old: Path, tmp_path: Path) -> None:
    """Columns have the same order too, since statements refer to their positions."""

    def shape(folder: Path) -> list[Any]:
        with FAISSVectorStore(4, folder):
            pass
        with closing(sqlite3.connect(folder / "memory.sqlite3")) as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master ORDER BY name")]
            return [
                (name, [column[1:4] for column in connection.execute("SELECT * FROM pragma_table_info(?)", (name,))])
                for name in tables
            ]

    assert dict(shape(old))["records"] == dict(shape(tmp_path / "new"))["records"]
    assert sorted(dict(shape(old))) == sorted(dict(shape(tmp_path / "new")))


def test_migration_gives_a_namespace_the_model_of_its_newest_record(old: Path) -> None:
    """Older schemas let models mix, and the last write shows which one is in use."""
    with FAISSVectorStore(4, old):
        pass
    with closing(sqlite3.connect(old / "memory.sqlite3")) as connection:
        found = connection.execute(
            "SELECT namespace, model_id FROM scopes LEFT JOIN models ON models.id = scopes.model ORDER BY namespace"
        ).fetchall()
    assert found == [("default", "new/model"), ("talks", "old/model")]
