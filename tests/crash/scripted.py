"""A process that runs the script of `script.py` in a child for each line it reads; `watched_disk.c` is preloaded.

    python -m tests.crash.scripted

A line is JSON: `folder` (watched), `store` (a folder below it), `log`, `shape` (of `SHAPES`), `crash_at` (the call at
which the child is killed; 0 for none), `half` (in the middle of that call instead of before it) and `plant` (a fault to
plant). What it prints for each is the child's wait status. Forked before any store is open, so importing is paid for
once.
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
    """Folds its log into the database every few commits, so that this happens within the script."""

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
    if order["plant"] == "synchronous off":
        _Connection.synchronous = "OFF"
    DISK.disk_watch(order["folder"].encode(), order["log"].encode(), ctypes.c_long(order["crash_at"]), order["half"])
    store = _opened(order)
    for i, operation in enumerate(operations()):
        if order["plant"] == "told too soon":
            DISK.disk_mark(f"told {i + 1}".encode())
        if operation.kind == "reopen":
            store.close()
            store = _opened(order)
        else:
            execute(store, operation)
            store.search_keywords("text", 1)  # words follow when they are asked for, and are kept from then on
        if order["plant"] != "told too soon":
            DISK.disk_mark(f"told {i + 1}".encode())
        _settle()
    store.close()
    DISK.disk_mark(b"closed")


def _opened(order: dict[str, Any]) -> FAISSVectorStore:
    store = opened(order["store"], order["shape"])
    store.count()
    DISK.disk_mark(b"opened")
    return store


def _settle() -> None:
    """Let what goes on in the background end, most often: no check needs it, but equal runs make equal calls."""
    before = -1
    while before != DISK.disk_calls():
        before = DISK.disk_calls()
        time.sleep(_QUIET_S)


def main() -> None:
    """Fork for each line."""
    DISK.disk_calls.restype = ctypes.c_long
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                _run(json.loads(line))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    main()
