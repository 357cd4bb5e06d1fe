"""A migration that is killed goes on where it was, and both stores are equal at its end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.stores.migration import Checksum, FolderRecords, Scope
from super_advanced_agents.stores.wrappers.tenant_view import tenant_view

pytestmark = pytest.mark.crash
StartChild = Callable[..., "subprocess.Popen[str]"]

DIM, RECORDS, PAGE = 64, 20_000, 4_000


def _checksums(folder: Path) -> dict[Scope, Checksum]:
    return asyncio.run(FolderRecords(folder / "store").checksums(lambda _: None))


def test_killed_migration_goes_on_and_loses_and_doubles_nothing(
    start_child: StartChild, tmp_path: Path, campaign: int
) -> None:
    """Pages whose end was noted are not copied again."""
    source, target = tmp_path / "source", tmp_path / "target"
    rng = np.random.default_rng(0)
    with FAISSVectorStore(DIM, source / "store", index="flat") as store:
        for start in range(0, RECORDS, 1_000):
            tenant_view(store, f"t{start % 3}").add_batch(
                rng.standard_normal((1_000, DIM)),
                [{"n": n} for n in range(start, start + 1_000)],
                [f"u{n:05}" for n in range(start, start + 1_000)],
                namespace="guide",
                sessions=[f"s{n % 10}" for n in range(1_000)],
            )
    arguments = [f"faiss:{source}", f"faiss:{target}", str(tmp_path / "state")]
    moments = [1, PAGE - 1_000, PAGE + 1_000, 9_000] if campaign == 1 else range(1, 2 * PAGE, 1_000)
    for moment in moments:
        child = start_child("migrating", *arguments, moment)
        child.communicate(timeout=120)
        assert child.returncode == -signal.SIGKILL
    child = start_child("migrating", *arguments, 0)
    stdout, _ = child.communicate(timeout=120)
    word, copied = stdout.split()
    assert word == "done"
    assert int(copied) < RECORDS
    assert _checksums(source) == _checksums(target)
    assert sum(checksum.count for checksum in _checksums(target).values()) == RECORDS
