"""Test `saa doctor`."""

from __future__ import annotations

import os

import orjson

from super_advanced_agents.stores import FAISSVectorStore


def _checks(saa, code=0):
    report = saa.json("doctor", code=code)
    assert report["ok"] is (code == 0)
    return {check["name"]: check for check in report["checks"]}


def test_doctor_reports_no_problem_on_a_healthy_machine(saa):
    """This holds for an empty data folder and for one with memories."""
    assert "owner" not in _checks(saa)
    saa("add", "one")
    checks = _checks(saa)
    assert checks["rows"]["detail"].startswith("1 records")
    assert checks["owner"]["detail"] == "in use by nobody"


def test_doctor_names_the_process_that_holds_the_folder_without_disturbing_it(saa):
    """A running server is not a problem."""
    with FAISSVectorStore(384, saa.data_dir / "store") as store:
        store.add([1.0] * 384)
        checks = _checks(saa)
        assert str(os.getpid()) in checks["owner"]["detail"]
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


def test_doctor_fails_when_a_snapshot_is_damaged_and_no_memory_is_lost(saa):
    """The store makes the snapshot again from its rows."""
    saa("add", "one")
    index = saa.data_dir / "store" / "index"
    index.mkdir(exist_ok=True)
    (index / "manifest-00000001.json").write_bytes(orjson.dumps({"sha256": "0", "body": {"segments": []}}))
    assert not _checks(saa, code=1)["snapshot"]["ok"]
    assert saa.json("list")["total"] == 1
