"""Repairs of `saa doctor --fix`: file modes, older schemas and a damaged index."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator
from pathlib import Path

from super_advanced_agents.cli.doctor.check import Check
from super_advanced_agents.cli.doctor.integrity import damaged_databases
from super_advanced_agents.cli.doctor.tenants import check_catalog
from super_advanced_agents.config import COLLECTIONS_FOLDER, STORE_DATABASE
from super_advanced_agents.errors import StoreLockedError, SuperAdvancedAgentsError
from super_advanced_agents.tenancy.settings import Settings


def fixed(data_dir: Path) -> Iterator[Check]:
    """Put right what can be without losing anything, and yield what was done.

    Stores of an older schema are migrated, after a copy of their file; a damaged index is built again from the rows.
    A data folder in use is left to the process that uses it, which has migrated it.

    Args:
        data_dir: the data folder; where its memories are elsewhere, the settings name that store.
    """
    settings = Settings.load_for_folder(data_dir=data_dir)
    yield from _fix_modes(settings.data_dir)
    damaged = [check for check in _damage(settings.data_dir) if not check.ok]
    if damaged:  # opening them would put an empty one in the place of a missing one
        detail = f"no database was opened, since not all can be used: {damaged[0].detail}"
        yield Check(name="fix", ok=False, detail=detail, hint=damaged[0].hint)
        return
    if settings.has_own_store and not (settings.store_dir / STORE_DATABASE).exists():
        return
    try:
        asyncio.run(_open_all(settings))
        for database in sorted(settings.data_dir.glob(f"{COLLECTIONS_FOLDER}/*/{STORE_DATABASE}")):
            _migrate_collection(database.parent)
    except StoreLockedError as exc:
        yield Check(name="fix", ok=True, detail=f"the stores were left alone: {exc.message}")
    except SuperAdvancedAgentsError as exc:
        yield Check(name="fix", ok=False, detail=exc.message, hint=exc.hint or "")
    else:
        yield Check(name="fix", ok=True, detail="the stores have the schemas of this version")


def _damage(data_dir: Path) -> Iterator[Check]:
    yield from damaged_databases(data_dir)
    yield from check_catalog(data_dir)


def _fix_modes(data_dir: Path) -> Iterator[Check]:
    changed = 0
    try:
        for path in [data_dir, *data_dir.rglob("*")] if data_dir.exists() else []:
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode) and mode & 0o077:
                path.chmod(0o700 if stat.S_ISDIR(mode) else 0o600)
                changed += 1
    except OSError as exc:
        detail = f"the rights of others cannot be taken: {exc.strerror}"
        yield Check(name="fix", ok=False, detail=detail, hint="run it as the owner of the data folder")
        return
    if changed:
        yield Check(name="fix", ok=True, detail=f"took the rights of others from {changed} files and folders")


async def _open_all(settings: Settings) -> None:
    from super_advanced_agents.jobs import SQLJobBackend
    from super_advanced_agents.jobs.opening import jobs_place
    from super_advanced_agents.jobs.sql.sqlite import FILE
    from super_advanced_agents.tenancy.runtime import Runtime

    async with Runtime(settings) as runtime:
        await runtime.aopen()
    place = jobs_place(settings)
    if isinstance(place, str) or (place / FILE).exists():
        async with SQLJobBackend(place) as jobs:
            await jobs.aopen()


def _migrate_collection(folder: Path) -> None:
    from super_advanced_agents.stores.local.maintenance import upgrade_if_older

    upgrade_if_older(folder)
