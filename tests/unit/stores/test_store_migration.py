"""Tests of the comparison at the end of a migration."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.stores.migration import EngineRecords, Journal, StoreMigration

COMPARISONS = 4
"""The comparisons that a migration makes at most."""


def test_migration_ends_equal_when_a_record_expires_within_each_comparison(tmp_path):
    """A record that the source still had when it was read, and the target had no more, is no difference."""
    lifetimes = [1.0 + n for n in range(COMPARISONS)]
    source, target = FAISSVectorStore(2, tmp_path / "a"), FAISSVectorStore(2, tmp_path / "b")
    compares = False

    def on_step(step: str) -> None:
        nonlocal compares
        compares = step == "comparing"

    def on_records(_: int) -> None:
        nonlocal compares
        if compares:  # the source was read, and the target not yet
            compares = False
            end = next(each for each in ends if each > time.time())
            while time.time() <= end:
                time.sleep(0.01)

    with source, target, closing(Journal(tmp_path / "notes", "a", "b")) as journal:
        source.add([1, 2], uid="lasting")
        source.add_batch([[1, 2]] * len(lifetimes), expires_in_s=lifetimes)
        ends = sorted(record.expires_at for record in source.scan() if record.expires_at is not None)
        read, written = (EngineRecords(store, "cosine", [DEFAULT_TENANT]) for store in (source, target))
        migration = StoreMigration(
            read, target, written, journal=journal, part="a", on_step=on_step, on_records=on_records
        )
        assert asyncio.run(migration.afinish())
        assert migration.moved.differing == []
        assert "lasting" in {record.uid for record in target.scan()}
