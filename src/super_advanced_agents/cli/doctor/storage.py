"""Checks of `saa doctor` for the data folder, which do not disturb a server that uses it."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from super_advanced_agents._runtime.disk.watched_files import check_unharmed
from super_advanced_agents.cli.doctor.check import Check
from super_advanced_agents.cli.doctor.integrity import REQUESTS, UPGRADE, damage_of
from super_advanced_agents.config import CATALOG_FILE, COLLECTIONS_FOLDER, STORE_DATABASE, STORE_FOLDER
from super_advanced_agents.errors import CorruptStoreError
from super_advanced_agents.stores.local.maintenance import CLOCK_SETTING, SCHEMA_VERSION, damaged_file

_MIN_FREE_BYTES = 256 * 1024 * 1024
_CLOCK_MARGIN_S = 5.0


def check_data(data_dir: Path) -> Iterator[Check]:
    """Yield check results for a data folder: permissions, disk, files, rows, clock, index.

    The index is checked as the snapshot of it on disk, which can be built again from the database.
    """
    parents = data_dir.absolute().parents
    folder = data_dir if data_dir.exists() else next(parent for parent in parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        hint = "change its permissions, or choose another with --data-dir"
        yield Check(name="data folder", ok=False, detail=f"{str(folder)!r} cannot be written", hint=hint)
        return
    state = "can be written" if data_dir.exists() else "will be created with the first memory"
    yield Check(name="data folder", ok=True, detail=f"{str(data_dir)!r} {state}")
    free = shutil.disk_usage(folder).free
    yield Check(
        name="disk",
        ok=free >= _MIN_FREE_BYTES,
        detail=f"{free / 2**30:.1f} GiB free",
        hint="" if free >= _MIN_FREE_BYTES else "free some space: writes stop when the disk is full",
    )
    yield from _lost_files(data_dir)
    store = data_dir / STORE_FOLDER
    database = store / STORE_DATABASE
    if database.exists():
        yield _lock(store)
        yield _rows(database)
        yield from _clock(database)
        yield _snapshot(store)


def _lost_files(data_dir: Path) -> Iterator[Check]:
    names = (f"{STORE_FOLDER}/{STORE_DATABASE}", CATALOG_FILE, REQUESTS)
    for database in (
        *(data_dir / name for name in names),
        *sorted(data_dir.glob(f"{COLLECTIONS_FOLDER}/*/{STORE_DATABASE}")),
    ):
        try:
            check_unharmed(database)
        except CorruptStoreError as exc:
            yield Check(name="lost files", ok=False, detail=f"{database}: {exc.message}", hint=exc.hint or "")


def _clock(database: Path) -> Iterator[Check]:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database.absolute()))}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT value FROM settings WHERE name = ?", (CLOCK_SETTING,)).fetchone()
            behind_s = 0.0 if row is None else float(row[0]) - time.time()
    except (sqlite3.Error, ValueError):
        return  # the check of the rows says why
    if behind_s > _CLOCK_MARGIN_S:
        yield Check(
            name="clock",
            ok=False,
            detail=f"the machine's clock is {behind_s:.0f} s behind a time by which records have expired",
            hint="set the clock; if it was ahead by mistake before, what expired then stays expired",
        )


def _lock(store: Path) -> Check:
    try:
        with (store / "owner.lock").open("rb") as lock:
            holder = lock.read(32).decode(errors="replace").partition("\n")[0].strip()
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return Check(name="store lock", ok=True, detail=f"in use by process {holder or 'unknown'}")
    except FileNotFoundError:  # never opened since it was restored
        pass
    except OSError as exc:
        return Check(
            name="store lock", ok=False, detail=f"the lock cannot be read: {exc.strerror}", hint="check permissions"
        )
    return Check(name="store lock", ok=True, detail="in use by nobody")


def _rows(database: Path) -> Check:
    hint = "restore a backup, or export what can still be read: saa export"
    damage = damage_of(database, SCHEMA_VERSION)
    if damage is not None:
        return Check(
            name="rows", ok=False, detail=f"the database {damage.text}", hint=UPGRADE if damage.newer else hint
        )
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database.absolute()))}?mode=ro", uri=True)) as connection:
            [(schema,)] = connection.execute("PRAGMA user_version")
            [(rows,)] = connection.execute("SELECT count(*) FROM records")
    except sqlite3.Error as exc:
        return Check(name="rows", ok=False, detail=f"cannot be read: {exc}", hint=hint)
    return Check(name="rows", ok=True, detail=f"{rows} records, schema {schema}, undamaged")


def _snapshot(store: Path) -> Check:
    # A snapshot is derived from the rows: damage costs the time to build it again and no memory.
    manifests = sorted((store / "index").glob("manifest-[0-9]*.json"))
    if not manifests:
        return Check(name="snapshot", ok=True, detail="none; opening the store builds the index from the rows")
    newest = manifests[-1]
    try:
        damaged = damaged_file(newest)
    except (OSError, ValueError, KeyError, TypeError):
        damaged = newest.name
    if damaged:
        return Check(
            name="snapshot",
            ok=False,
            detail=f"{damaged!r} is damaged; no memory is lost",
            hint="the next start builds it again from the rows: saa list",
        )
    return Check(name="snapshot", ok=True, detail=f"{newest.name} is whole")
