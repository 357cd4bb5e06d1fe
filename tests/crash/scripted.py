"""A process that runs the script of `script.py` in a child for each line, with `watched_disk.c` preloaded.

    python -m tests.crash.scripted

A line is JSON: `folder` (watched), `store` (a folder below it), `log`, `shape` (of `SHAPES`), `crash_at` (the call at
which the child is killed; 0 for none), `in_the_middle` (of that call instead of before it) and `fault` (the fault to
plant). It prints the child's wait status for each line. It forks before any store is open, so that importing is paid
for once.
"""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
import sys
import time
import traceback
from typing import Any

from tests.crash.script import execute, opened, operations

from super_advanced_agents import FAISSVectorStore

DISK = ctypes.CDLL(os.environ["LD_PRELOAD"])
_QUIET_S = 0.004


class _Connection(sqlite3.Connection):
    """Fold the log into the database every few commits, so that this happens within the script."""

    synchronous = "FULL"

    def execute(self, sql: str, /, *parameters: Any) -> sqlite3.Cursor:
        if sql.startswith("PRAGMA wal_autocheckpoint"):
            sql = "PRAGMA wal_autocheckpoint = 12"
        if sql.startswith("PRAGMA synchronous"):
            sql = f"PRAGMA synchronous = {self.synchronous}"
        return super().execute(sql, *parameters)


def _run(order: dict[str, Any]) -> None:
    connect = sqlite3.connect
    sqlite3.connect = lambda *a, **k: connect(*a, factory=_Connection, **k)  # type: ignore[assignment]
    if order["fault"] == "synchronous off":
        _Connection.synchronous = "OFF"
    DISK.disk_watch(
        order["folder"].encode(), order["log"].encode(), ctypes.c_long(order["crash_at"]), order["in_the_middle"]
    )
    store = _opened(order)
    for i, operation in enumerate(operations()):
        if order["fault"] == "acknowledged too soon":
            DISK.disk_mark(f"acknowledged {i + 1}".encode())
        if operation.kind == "reopen":
            store.close()
            store = _opened(order)
        else:
            execute(store, operation)
            store.search_keywords("text", 1)  # the keyword index follows at a search, and has a snapshot from then on
        if order["fault"] != "acknowledged too soon":
            DISK.disk_mark(f"acknowledged {i + 1}".encode())
        _settle()
    store.close()
    DISK.disk_mark(b"closed")


def _opened(order: dict[str, Any]) -> FAISSVectorStore:
    store = opened(order["store"], order["shape"])
    store.count()
    DISK.disk_mark(b"opened")
    return store


def _settle() -> None:
    """Wait until the background has ended, so that equal runs make equal calls; no check needs it."""
    before = -1
    while before != DISK.disk_calls():
        before = DISK.disk_calls()
        time.sleep(_QUIET_S)


def main() -> None:
    """Fork a run for each line."""
    DISK.disk_calls.restype = ctypes.c_long
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 0
            try:
                _run(json.loads(line))
            except BaseException:
                traceback.print_exc()
                status = 1
            os._exit(status)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    main()
