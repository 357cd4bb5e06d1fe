"""Everything that a server, a backup and an export leave on the disk is for their OS user alone."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest


def shared(*tops: Path) -> list[str]:
    """Return the files and folders that group or others have any right on."""
    paths = [path for top in tops for path in (top, *top.rglob("*"))]
    return [str(path) for path in paths if stat.S_IMODE(path.lstat().st_mode) & 0o077]


@pytest.fixture
def _no_umask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every process of the test with a umask that takes no rights."""
    start = subprocess.Popen.__init__
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda *args, **options: start(*args, **{"umask": 0, **options}))


def fill(client) -> None:
    """Write memories, and a collection that is large enough for an index snapshot."""
    assert client.post("/v1/agents/default/memories", json={"text": "a secret"}, headers={"Idempotency-Key": "k"})
    client.post("/v1/collections", json={"name": "c", "dim": 2}).raise_for_status()
    client.post(
        "/v1/collections/c/records", json={"vectors": [[1, 2]], "metadatas": [{"text": "x"}]}
    ).raise_for_status()


@pytest.mark.usefixtures("_no_umask")
def test_nothing_that_lasts_is_accessible_to_others(machine, tmp_path):
    """The data folder, its backup, what is restored from it, and exports in both formats have modes 0700 and 0600."""
    with machine.server() as client:
        fill(client)
        machine.saa("backup", tmp_path / "backup")
    for name in ("export.jsonl", "export.parquet"):
        machine.saa("export", tmp_path / name)
    machine.saa("restore", tmp_path / "backup", "--data-dir", tmp_path / "restored")
    names = ("data", "backup", "restored", "export.jsonl", "export.parquet")
    assert shared(*(tmp_path / name for name in names)) == []


def test_data_folder_of_an_older_version_is_restricted_when_it_is_opened(machine):
    """A server takes the rights of others from the files that were created with them."""
    with machine.server() as client:
        fill(client)
    for path in (machine.data_dir, *machine.data_dir.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    with machine.server() as client:
        client.post("/v1/collections/c/records", json={"vectors": [[1, 2]]}).raise_for_status()
    assert shared(machine.data_dir) == []


def test_files_of_somebody_else_in_a_data_folder_keep_their_modes(machine):
    """Only what the package wrote is restricted; a configuration file beside it is not."""
    with machine.server() as client:
        fill(client)
    other = machine.data_dir / "saa.toml"
    other.write_text("")
    for path in (machine.data_dir, other):
        path.chmod(0o755)
    with machine.server():
        pass
    assert [stat.S_IMODE(path.stat().st_mode) for path in (machine.data_dir, other)] == [0o755, 0o755]
    assert json.loads(machine.saa("list", "--json"))
