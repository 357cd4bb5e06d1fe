"""Test what commands write to the audit log without being asked for it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import numpy as np

from super_advanced_agents import FAISSVectorStore


def test_command_that_deletes_expired_records_leaves_a_receipt(saa):
    """One entry with their number, of all tenants; a command that deletes none leaves none."""
    folder = saa.data_dir / "store"
    with FAISSVectorStore(2, folder) as store:
        store.add_batch(np.eye(2), expires_in_s=[3600, 3600])
    with closing(sqlite3.connect(folder / "memory.sqlite3")) as connection, connection:
        now = time.time()
        connection.execute("UPDATE records SET expires_at = ?", (now - 300,))
        connection.execute("INSERT OR REPLACE INTO settings VALUES ('clock_seen', ?)", (repr(now - 200),))
    for _ in range(2):
        assert saa.json("list")["memories"] == []
    entries = saa.json("audit", "tail")["entries"]
    assert [(entry["operation"], entry["items"], entry["tenant"]) for entry in entries] == [("expire", 2, "")]


def test_every_command_that_changes_keys_is_audited_for_the_tenant_of_the_key(saa):
    """A rotation names the replaced key and the new one; the tenant's administrators see both, and a revocation."""
    made = saa.json("keys", "create", "--tenant", "acme", "--scope", "memories:read")["id"]
    rotated = saa.json("keys", "rotate", made)["id"]
    saa("keys", "revoke", rotated)
    entries = saa.json("audit", "tail")["entries"]
    assert [(entry["operation"], entry["target"], entry["tenant"]) for entry in entries] == [
        ("createKey", made, "acme"),
        ("rotateKey", made, "acme"),
        ("createKey", rotated, "acme"),
        ("revokeKey", rotated, "acme"),
    ]
