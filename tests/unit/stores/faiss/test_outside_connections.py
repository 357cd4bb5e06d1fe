"""What other processes may do to the database of an open store by SQLite itself: it raises no alarm."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.stores.conftest import vectors

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents._runtime.disk import watched_files
from super_advanced_agents.errors import StoreError

Open = Callable[..., FAISSVectorStore]
DATABASE = "memory.sqlite3"
_EXECUTE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    print(connection.execute(statement).fetchall())
"""
TRUNCATE = "PRAGMA wal_checkpoint(TRUNCATE)"
STATEMENTS: dict[str, list[str]] = {
    "checkpoint": [TRUNCATE],
    "vacuum": ["VACUUM"],
    "vacuum and checkpoint": ["VACUUM", TRUNCATE],
    "a log of limited length": ["PRAGMA journal_size_limit = 0", "VACUUM", "PRAGMA wal_checkpoint(RESTART)"],
}


def _execute_outside(database: Path, statements: list[str]) -> str:
    command = [sys.executable, "-c", _EXECUTE, str(database), *statements]
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("statements", STATEMENTS.values(), ids=STATEMENTS)
@pytest.mark.parametrize("noticed_by", ["write", "check"])
def test_statements_of_another_process_raise_no_alarm(
    opened: Open, tmp_path: Path, statements: list[str], noticed_by: str
) -> None:
    """The log is emptied and the database becomes smaller, and nothing is missing."""
    store = opened()
    database = tmp_path / "store" / DATABASE
    uids = [f"{number:04}" for number in range(1_000)]
    store.add_batch(vectors(1_000), [{"text": "word " * 100}] * 1_000, uids)
    store.check_files()
    _execute_outside(database, [TRUNCATE])
    store.check_files()
    store.delete(uids[5:])  # so that a VACUUM makes the database smaller
    store.check_files()
    size = database.stat().st_size
    _execute_outside(database, statements)
    if statements == STATEMENTS["vacuum and checkpoint"]:
        assert 0 < database.stat().st_size < size / 2
        assert database.with_name(f"{DATABASE}-wal").stat().st_size == 0
    if noticed_by == "check":
        store.check_files()
    for uid in ("y", "z"):
        store.add(vectors(1)[0], None, uid)
        store.check_files()
    store.close()
    assert [record.uid for record in opened().scan()] == [*uids[:5], "y", "z"]


@pytest.mark.parametrize("number", [errno.EINTR, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("times", [1, 20], ids=["once", "for a while"])
def test_file_that_cannot_be_looked_at_for_a_while_is_not_taken_for_lost(
    opened: Open, monkeypatch: pytest.MonkeyPatch, number: int, times: int
) -> None:
    """One failure is not even noticed; while they last, nothing is acknowledged, and afterwards all goes on."""
    store = opened()
    store.add(vectors(1)[0], None, "a")
    real, failures = os.stat, [OSError(number, os.strerror(number)) for _ in range(times)]

    def stat(path: Any, **options: Any) -> os.stat_result:
        if failures and str(path).endswith(DATABASE):
            raise failures.pop()
        return real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(watched_files.os, "stat", stat)
        if times == 1:
            store.add(vectors(1)[0], None, "b")
        else:
            with pytest.raises(StoreError, match=r"'memory\.sqlite3' cannot be reached"):
                store.add(vectors(1)[0], None, "b")
    store.add(vectors(1)[0], None, "b")
    store.check_files()
    store.close()
    assert [record.uid for record in opened().scan()] == ["a", "b"]
