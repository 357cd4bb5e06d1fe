"""Test `saa doctor`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import closing

import orjson
import pytest

from super_advanced_agents.stores import FAISSVectorStore
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.workspace import Workspace


def _checks(saa, code=0):
    report = saa.json("doctor", code=code)
    assert report["ok"] is (code == 0)
    return {check["name"]: check for check in report["checks"]}


def test_doctor_reports_no_problem_on_a_healthy_machine(saa):
    """This holds for an empty data folder and for one with memories."""
    assert "store lock" not in _checks(saa)
    saa("add", "one")
    checks = _checks(saa)
    assert checks["rows"]["detail"].startswith("1 records")
    assert checks["store lock"]["detail"] == "in use by nobody"


def test_doctor_names_the_process_that_holds_the_folder_without_disturbing_it(saa):
    """A running server is not a problem."""
    with FAISSVectorStore(384, saa.data_dir / "store") as store:
        store.add([1.0] * 384)
        checks = _checks(saa)
        assert str(os.getpid()) in checks["store lock"]["detail"]
        assert checks["rows"]["detail"].startswith("1 records")
        assert store.count() == 1


def test_doctor_fails_when_models_are_missing(saa, tmp_path):
    """Its hint is the command that fetches them."""
    report = saa.json("doctor", "--models-dir", tmp_path / "models", code=1)
    assert any("saa pull" in check["hint"] for check in report["checks"] if not check["ok"])


def test_doctor_fails_when_rows_are_damaged(saa):
    """Pages of the database are overwritten."""
    saa("add", "one")
    database = saa.data_dir / "store" / "memory.sqlite3"
    content = bytearray(database.read_bytes())
    content[100:20_000] = b"\xff" * 19_900
    database.write_bytes(content)
    assert not _checks(saa, code=1)["rows"]["ok"]


def test_doctor_fails_when_a_database_lost_its_files_under_a_process(saa):
    """It says what happened, and what to remove once that is settled."""
    saa("add", "one")
    (saa.data_dir / "store" / "memory.sqlite3-damaged").write_text("the file 'memory.sqlite3-wal' was emptied\n")
    check = _checks(saa, code=1)["lost files"]
    assert "was emptied" in check["detail"]
    assert "'memory.sqlite3-damaged'" in check["hint"]


def test_doctor_fails_while_the_clock_is_behind_the_highest_time_seen(saa):
    """Records have expired by that time, and stay so."""
    saa("add", "one")
    with closing(sqlite3.connect(saa.data_dir / "store" / "memory.sqlite3", isolation_level=None)) as connection:
        connection.execute("INSERT INTO settings VALUES ('clock_highest', ?)", (repr(time.time() + 3_600),))
    check = _checks(saa, code=1)["clock"]
    assert "s behind a time by which records have expired" in check["detail"]


def test_doctor_fails_when_a_snapshot_is_damaged_and_no_memory_is_lost(saa):
    """The store makes the snapshot again from its rows."""
    saa("add", "one")
    index = saa.data_dir / "store" / "index"
    index.mkdir(exist_ok=True)
    (index / "manifest-00000001.json").write_bytes(orjson.dumps({"sha256": "0", "body": {"segments": []}}))
    assert not _checks(saa, code=1)["snapshot"]["ok"]
    assert saa.json("list")["total"] == 1


def _make_collections(data_dir):
    async def make():
        async with Runtime(Settings.load(data_dir=data_dir)) as runtime:
            await runtime.aopen()
            for name in ("one", "two"):
                await Workspace(runtime, "acme").acreate_collection(name, dim=2)

    asyncio.run(make())
    return sorted((data_dir / "collections").iterdir())


def test_doctor_finds_collections_without_folders_and_folders_without_collections(saa):
    """A collection that was never written is in order."""
    first, _ = _make_collections(saa.data_dir)
    assert _checks(saa)["collections"]["detail"] == "each one has its folder"
    moved = first.with_name("0" * 32)
    first.rename(moved)
    (moved / "memory.sqlite3").touch()
    check = _checks(saa, code=1)["collections"]
    assert "1 without a folder" in check["detail"]
    assert repr("0" * 32) in check["detail"]


def test_doctor_finds_damaged_rows_and_a_missing_catalog(saa):
    """Neither stops the check."""
    _make_collections(saa.data_dir)
    catalog = saa.data_dir / "server" / "catalog.db"
    with closing(sqlite3.connect(catalog)) as connection, connection:
        connection.execute("UPDATE collections SET id = '../../x' WHERE name = 'one'")
    assert "1 damaged rows" in _checks(saa, code=1)["catalog"]["detail"]
    catalog.unlink()
    assert _checks(saa, code=1)["catalog"]["detail"] == "missing"


@pytest.mark.parametrize("name", ["keys.db", "secret"])
def test_doctor_finds_a_missing_half_of_the_keys(saa, name):
    """Keys are verified with the secret, so one is of no use without the other."""
    saa("keys", "create", "--tenant", "acme", "--scope", "memories:read")
    assert _checks(saa)["keys"]["ok"]
    (saa.data_dir / "server" / name).unlink()
    assert f"'server/{name}' is missing" in _checks(saa, code=1)["keys"]["detail"]


def test_doctor_finds_folders_that_others_can_read(saa):
    """Those of a private data folder cannot be reached."""
    saa("add", "one")
    (saa.data_dir / "store").chmod(0o755)
    assert _checks(saa)["modes"]["ok"]
    saa.data_dir.chmod(0o755)
    assert "'store'" in _checks(saa, code=1)["modes"]["detail"]


def test_doctor_finds_incomplete_backups(saa, tmp_path):
    """In the folder of a backup, and beside the data folder."""
    saa("add", "one")
    saa("backup", tmp_path / "copy")
    assert saa.json("doctor", "--data-dir", tmp_path / "copy")["ok"]
    (tmp_path / "copy" / "store" / "memory.sqlite3").unlink()
    report = saa.json("doctor", "--data-dir", tmp_path / "copy", code=1)
    assert [check["name"] for check in report["checks"] if not check["ok"]] == ["backup"]
    (tmp_path / ".monday.part" / "store").mkdir(parents=True)
    (tmp_path / ".monday.part" / "store" / "memory.sqlite3").touch()
    assert "'.monday.part'" in _checks(saa, code=1)["backup"]["detail"]
