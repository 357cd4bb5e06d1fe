"""`saa doctor`."""

from __future__ import annotations

import os

import orjson

from super_advanced_agents.stores import FAISSVectorStore


def _checks(saa, code=0):
    told = saa.json("doctor", code=code)
    assert told["ok"] is (code == 0)
    return {check["name"]: check for check in told["checks"]}


def test_a_healthy_machine_is_well(saa):
    """Before and after something is remembered."""
    assert "owner" not in _checks(saa)
    saa("add", "one")
    checks = _checks(saa)
    assert checks["rows"]["detail"].startswith("1 records")
    assert checks["owner"]["detail"] == "in use by nobody"


def test_whoever_holds_the_folder_is_named_and_not_disturbed(saa):
    """A running server is no fault."""
    with FAISSVectorStore(384, saa.data_dir / "store") as store:
        store.add([1.0] * 384)
        checks = _checks(saa)
        assert str(os.getpid()) in checks["owner"]["detail"]
        assert checks["rows"]["detail"].startswith("1 records")
        assert store.count() == 1


def test_missing_models_are_wrong(saa, tmp_path):
    """With the command that fetches them."""
    told = saa.json("doctor", "--models-dir", tmp_path / "models", code=1)
    assert any("saa pull" in check["hint"] for check in told["checks"] if not check["ok"])


def test_damaged_rows_are_wrong(saa):
    """A page of the file overwritten."""
    saa("add", "one")
    database = saa.data_dir / "store" / "memory.sqlite3"
    content = bytearray(database.read_bytes())
    content[100:20_000] = b"\xff" * 19_900
    database.write_bytes(content)
    assert not _checks(saa, code=1)["rows"]["ok"]


def test_a_damaged_snapshot_is_wrong_and_no_memory_is_lost(saa):
    """It is made anew from the rows."""
    saa("add", "one")
    index = saa.data_dir / "store" / "index"
    index.mkdir(exist_ok=True)
    (index / "manifest-00000001.json").write_bytes(orjson.dumps({"sha256": "0", "body": {"segments": []}}))
    assert not _checks(saa, code=1)["snapshot"]["ok"]
    assert saa.json("list")["total"] == 1
