"""Measure how fast `saa migrate` moves the records of a folder to an engine."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from benchmarks.measure import Bench, Row
from benchmarks.vectors import DIM, blocks, payloads
from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.tenancy.migration import Migration

_BATCH = 1_000


def migration_row(bench: Bench, engine: str, target: str, *, least_per_s: int) -> Row:
    """Return the row of a migration of 100,000 records with vectors.

    It is right only if both stores are equal at its end.

    Args:
        bench: the run.
        engine: the name of the engine for the row.
        target: the URL of an empty store.
        least_per_s: the rate to reach, in records a second.
    """
    total, source = 5_000 if bench.quick else 100_000, bench.folder / f"to-{engine}"
    with FAISSVectorStore(DIM, source, index="flat") as store:
        for start, vectors in blocks(total):
            for first in range(0, len(vectors), _BATCH):
                store.add_batch(vectors[first : first + _BATCH], payloads(start + first, _BATCH))
    with tempfile.TemporaryDirectory() as notes:
        migration = Migration(
            f"faiss:{source}", target, Path(notes), on_step=lambda *_: None, on_records=lambda _: None
        )
        migrated = asyncio.run(migration.arun())
    [moved] = migrated.parts.values()
    per_s = moved.copied / moved.seconds
    return Row(
        f"{engine}: migrate {total:,} from a folder",
        f"{per_s:,.0f}/s",
        target=f">= {least_per_s:,}/s",
        reached=migrated.equal and per_s >= least_per_s,
        details={"copied": moved.copied, "seconds": moved.seconds, "equal": migrated.equal},
    )
