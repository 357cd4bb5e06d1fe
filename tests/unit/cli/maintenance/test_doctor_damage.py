"""Test that `saa doctor` finds each damaged or missing file of a data folder, and that `--fix` replaces none."""

from __future__ import annotations

import asyncio
import shutil

import orjson
import pytest
from typer.testing import CliRunner

from super_advanced_agents.cli.main import app
from super_advanced_agents.errors import CorruptStoreError
from super_advanced_agents.jobs import SQLJobBackend
from super_advanced_agents.server.idempotency.request_store import RequestTable
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.workspace import Workspace

_STORE, _CATALOG, _KEYS, _SECRET = "store/memory.sqlite3", "server/catalog.db", "server/keys.db", "server/secret"
_REQUESTS, _JOBS, _COLLECTION = "server/requests.db", "jobs/jobs.db", "collections/*/memory.sqlite3"
_DATABASES = [_STORE, _CATALOG, _KEYS, _REQUESTS, _JOBS, _COLLECTION]


def _run(data_dir, *arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments], env={"SAA_DATA_DIR": str(data_dir)})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Make a data folder with each kind of file."""
    data_dir = tmp_path_factory.mktemp("whole") / "data"
    assert _run(data_dir, "add", "one").exit_code == 0
    assert _run(data_dir, "keys", "create", "--scope", "memories:read").exit_code == 0

    async def make():
        async with Runtime(Settings.load(data_dir=data_dir)) as runtime:
            await runtime.aopen()
            await Workspace(runtime, "acme").acreate_collection("one", dim=2)
            await (await Workspace(runtime, "acme").acollection("one")).aadd([1.0, 0.0])
        async with SQLJobBackend(data_dir / "jobs") as jobs:
            await jobs.aopen()

    asyncio.run(make())
    RequestTable(data_dir / _REQUESTS, max_keys=10, max_bytes=10_000).close()
    return data_dir


@pytest.fixture
def data_dir(whole, tmp_path):
    """Return a copy of that folder."""
    return shutil.copytree(whole, tmp_path / "data")


def _wrong(data_dir, *arguments):
    report = orjson.loads(_run(data_dir, "doctor", "--json", *arguments).stdout)
    return [check for check in report["checks"] if not check["ok"]]


def _damage(data_dir, name, how):
    [file] = data_dir.glob(name)
    content = bytearray(file.read_bytes())
    if how == "removed":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif how == "emptied":
        file.write_bytes(b"")
    else:  # inverted bytes at the beginning of each page, where SQLite says what is in it
        for page in range(1, len(content) // 4096):
            for position in range(page * 4096, page * 4096 + 64):
                content[position] ^= 0xFF
        file.write_bytes(content)
    return file


def _open(data_dir, name):
    async def use():
        async with Runtime(Settings.load(data_dir=data_dir)) as runtime:
            await runtime.aopen()
            await (await Workspace(runtime, "acme").acollection("one")).acount()

    async def use_jobs():
        async with SQLJobBackend(data_dir / "jobs") as jobs:
            await jobs.aopen()

    asyncio.run(use_jobs() if name == _JOBS else use())


def test_doctor_finds_nothing_wrong_in_a_folder_with_each_kind_of_file(data_dir):
    """Neither before nor after `--fix`."""
    assert _wrong(data_dir) == []
    assert _wrong(data_dir, "--fix") == []


@pytest.mark.parametrize("how", ["truncated", "inverted"])
@pytest.mark.parametrize("name", _DATABASES)
def test_doctor_names_a_damaged_database_and_the_next_step(data_dir, name, how):
    """`--fix` leaves it as it is."""
    file = _damage(data_dir, name, how)
    damaged = file.read_bytes()
    wrong = _wrong(data_dir)
    assert any(file.name in check["detail"] or check["name"] == "rows" for check in wrong), wrong
    assert all(check["hint"] for check in wrong)
    _wrong(data_dir, "--fix")
    assert file.read_bytes() == damaged


@pytest.mark.parametrize("how", ["removed", "emptied"])
@pytest.mark.parametrize("name", [_STORE, _CATALOG, _JOBS, _COLLECTION])
def test_doctor_finds_a_lost_database_and_makes_none_in_its_place(data_dir, name, how):
    """`--fix` would hide the loss otherwise."""
    file = _damage(data_dir, name, how)
    assert _wrong(data_dir)
    wrong = _wrong(data_dir, "--fix")
    assert "fix" in {check["name"] for check in wrong}
    assert len(wrong) > 1
    assert not file.exists() or not file.stat().st_size


@pytest.mark.parametrize("name", [_STORE, _JOBS, _COLLECTION])
def test_a_store_or_jobs_whose_database_is_gone_open_only_after_a_decision(data_dir, name):
    """A new one would answer as if nothing had ever been stored; removing the lock beside it is the decision."""
    file = _damage(data_dir, name, "removed")

    with pytest.raises(CorruptStoreError, match="is missing or empty") as failed:
        _open(data_dir, name)
    assert "'owner.lock'" in failed.value.hint
    (file.parent / "owner.lock").unlink()
    _open(data_dir, name)


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 32])
def test_doctor_finds_a_secret_that_is_not_that_of_the_keys(data_dir, content):
    """No key would be accepted with it."""
    (data_dir / _SECRET).write_bytes(content)
    [wrong] = _wrong(data_dir)
    assert wrong["name"] == "keys"
    assert "secret" in wrong["detail"]


@pytest.mark.parametrize("name", ["audit/head.json", "audit/audit-000001.jsonl"])
def test_doctor_verifies_the_audit_log(data_dir, name):
    """Each of its files takes part."""
    _damage(data_dir, name, "truncated")
    [wrong] = _wrong(data_dir)
    assert wrong["name"] == "audit log"
    assert "move it away" in wrong["hint"]


@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_collections_without_their_catalog_are_not_hidden_by_a_new_one(data_dir, how):
    """A new catalog would answer that there are no collections."""
    file = _damage(data_dir, _CATALOG, how)
    with pytest.raises(CorruptStoreError, match="the catalog that names them is missing"):
        _open(data_dir, _CATALOG)
    assert not file.exists() or not file.stat().st_size


@pytest.mark.parametrize("name", [_STORE, _CATALOG, _JOBS])
def test_a_damaged_database_is_named_by_its_path_when_it_is_opened(data_dir, name):
    """A data folder has many."""
    file = _damage(data_dir, name, "truncated")
    with pytest.raises(CorruptStoreError) as failed:
        _open(data_dir, name)
    assert repr(str(file)) in failed.value.message
