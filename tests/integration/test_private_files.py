"""Everything that lasts is readable for the user of the process alone."""

from __future__ import annotations

import os
import stat
import time

import pytest


@pytest.mark.skipif(os.name != "posix", reason="file modes of POSIX")
def test_all_files_of_a_used_data_folder_are_private(new_machine, tmp_path):
    """With the most generous umask: after a server, an export and a backup, files are 0600 and folders 0700."""
    machine = new_machine(tmp_path / "data")
    before = os.umask(0)
    try:
        with machine.server() as client:
            while client.get("/readyz").status_code != 200:
                time.sleep(0.05)
            client.post("/v1/collections", json={"name": "notes", "dim": 4}).raise_for_status()
            client.post("/v1/collections/notes/records", json={"vectors": [[1, 0, 0, 0]]}).raise_for_status()
            for number in range(20):
                client.post("/v1/agents/a/memories", json={"text": f"memory {number}"}).raise_for_status()
            client.post("/v1/agents/a/search", json={"query": "memory 3"}).raise_for_status()
            client.put("/v1/agents/a", json={"description": "x"}).raise_for_status()
        machine.saa("export", tmp_path / "export.jsonl")
        machine.saa("backup", tmp_path / "backup")
    finally:
        os.umask(before)
    open_to_others = {
        str(path.relative_to(tmp_path)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in [tmp_path / "export.jsonl", *tmp_path.glob("data/**/*"), *tmp_path.glob("backup/**/*")]
        if stat.S_IMODE(path.stat().st_mode) != (0o700 if path.is_dir() else 0o600)
    }
    assert open_to_others == {}
    assert (tmp_path / "data" / "store" / "memory.sqlite3").exists()
