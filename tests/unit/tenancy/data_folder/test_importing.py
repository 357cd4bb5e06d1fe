"""Imports into a data folder of crafted, incomplete and older exports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from super_advanced_agents.cli.main import app
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view
from super_advanced_agents.tenancy.config_file import AgentSettings
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.workspace import Workspace

from .conftest import in_runtime

DIM = 384
RECORD = {"uid": "a", "namespace": "default", "created_at": 1.0, "updated_at": 1.0, "vector": [1] * DIM}
AGENT = {"kind": "agent", "tenant": "acme", "name": "bob", "settings": {"description": "d"}, "updated_at": 5.0}
COLLECTION = {
    "kind": "collection", "tenant": "acme", "name": "c", "dim": 2, "metric": "dot", "index": "auto", "storage": "fp32",
    "created_at": 6.0,
}  # fmt: skip


class Import:
    """Write exports by hand, and import them."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self._file = folder / "all.jsonl"

    def __call__(self, *lines: object, code: int = 0, arguments: tuple[str, ...] = (), **header: object) -> dict:
        """Import a file of these lines, check the exit code, and return the report."""
        top = {
            "format": "super-advanced-agents/export", "version": 2, "dim": DIM, "metric": "cosine", "vectors": True,
            "namespace": None, "created_at": 0.0, "tenant": None, **header,
        }  # fmt: skip
        settings = sum("kind" in line for line in lines if isinstance(line, dict))
        end = {"end": True, "records": len(lines) - settings, "settings": settings}
        self._file.write_text("\n".join(map(json.dumps, [top, *lines, end])))
        command = ["import", str(self._file), "--json", "--data-dir", str(self.data_dir), *arguments]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout.splitlines()[0])

    def count(self, tenant: str) -> object:
        """Return the number of memories of a tenant."""

        async def act(runtime: Runtime) -> int:
            return await tenant_view(runtime.store, tenant).acount(namespace="default")

        return in_runtime(self.data_dir, act)


@pytest.fixture
def imported(tmp_path: Path) -> Import:
    """Import into an empty data folder."""
    return Import(tmp_path)


BAD = {
    "no tenant": RECORD,
    "tenant of another form": {**RECORD, "tenant": "../x"},
    "tenant of another type": {**RECORD, "tenant": 7},
    "empty tenant": {**RECORD, "tenant": ""},
    "collection of another form": {**RECORD, "tenant": "acme", "collection": "../x"},
    "unknown collection": {**RECORD, "tenant": "acme", "collection": "c"},
    "unknown kind": {**AGENT, "kind": "key"},
    "kind of another type": {**AGENT, "kind": []},
    "agent of another form": {**AGENT, "name": "x\n"},
    "agent without settings": {**AGENT, "settings": None},
    "agent with unknown settings": {**AGENT, "settings": {"admin": True}},
    "agent with other members": {**AGENT, "scopes": ["admin"]},
    "agent without a time": {**AGENT, "updated_at": None},
    "collection without a dimension": {**COLLECTION, "dim": None},
    "collection of a huge dimension": {**COLLECTION, "dim": 10**9},
    "collection with an id": {**COLLECTION, "id": "../../x"},
    "collection without a name": {**COLLECTION, "name": None},
    "collection with a time that is none": {**COLLECTION, "created_at": "now"},
}


@pytest.mark.parametrize("line", BAD.values(), ids=BAD.keys())
def test_invalid_line_is_reported_and_the_others_are_stored(imported: Import, line: dict) -> None:
    """Nothing of it is stored, in no tenant."""
    report = imported({**RECORD, "tenant": "acme"}, line, code=1)
    assert (report["stored"], report["failed"], report["agents"], report["collections"]) == (1, 1, 0, 0)
    assert report["errors"][0]["at"].endswith(":3")
    assert (imported.count("acme"), imported.count("default")) == (1, 0)


def test_tenant_that_the_header_does_not_name_is_refused(imported: Import) -> None:
    """A file that claims to hold one tenant cannot bring records to another."""
    report = imported(RECORD, {**RECORD, "tenant": "globex"}, {**AGENT, "tenant": "globex"}, code=1, tenant="acme")
    assert (report["stored"], report["failed"], report["agents"]) == (1, 2, 0)
    assert imported.count("globex") == 0


def test_settings_and_collections_replace_what_fits_and_nothing_else(imported: Import) -> None:
    """A collection with other settings is left as it is, and the records for it count as failed."""
    record = {**RECORD, "tenant": "acme", "collection": "c", "vector": [1, 2]}
    assert imported(AGENT, COLLECTION, record)["stored"] == 1
    assert imported(AGENT, COLLECTION, record)["stored"] == 1
    report = imported({**AGENT, "settings": {"description": "new"}}, {**COLLECTION, "dim": 3}, record, code=1)
    assert (report["failed"], report["agents"], report["collections"]) == (2, 1, 0)

    async def act(runtime: Runtime) -> tuple[object, ...]:
        workspace = Workspace(runtime, "acme")
        [info] = await workspace.acollections()
        return await (await workspace.acollection("c")).acount(), info.dim, workspace.agent_settings("bob")

    assert in_runtime(imported.data_dir, act) == (1, 2, AgentSettings(description="new"))


def test_expired_records_are_left_out_and_counted(imported: Import) -> None:
    """The report names the reason."""
    report = imported({**RECORD, "tenant": "acme"}, {**RECORD, "uid": "b", "tenant": "acme", "expires_at": 2.0})
    assert (report["stored"], report["left_out"]) == (1, {"expired": 1})


def test_export_of_an_older_version_goes_to_one_tenant(imported: Import) -> None:
    """Without its tenants it is taken for the default tenant's, or that of the option."""
    assert imported(RECORD, {**RECORD, "uid": "b"}, version=1)["stored"] == 2
    assert (imported.count("default"), imported.count("acme")) == (2, 0)
    assert imported(RECORD, version=1, arguments=("--tenant", "acme"))["stored"] == 1
    assert imported.count("acme") == 1


def test_older_export_that_shows_several_tenants_is_not_merged(imported: Import) -> None:
    """Two records of one uid beside each other come from two tenants; one would overwrite the other."""
    report = imported(RECORD, RECORD, {**RECORD, "namespace": "other"}, version=1, code=1)
    assert (report["stored"], report["failed"]) == (2, 1)
    assert "several tenants" in report["errors"][0]["why"]


@pytest.mark.parametrize("header", [{"version": "2"}, {"version": 0}, {"tenant": "../x"}, {"tenant": 7}, {"metric": 1}])
def test_damaged_header_is_refused(imported: Import, header: dict) -> None:
    """Nothing is stored."""
    report = imported(RECORD, code=2, **header)
    assert (report["stored"], report["complete"]) == (0, False)
