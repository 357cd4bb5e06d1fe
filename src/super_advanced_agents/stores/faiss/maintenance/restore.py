"""Restore of backups: atomic, and checked before the target folder changes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from super_advanced_agents._runtime.files import create_folder, private_file, sha256_of
from super_advanced_agents.errors import StoreError
from super_advanced_agents.stores.faiss.maintenance.atomic_folder import atomic_folder, is_occupied
from super_advanced_agents.stores.faiss.maintenance.backup import BackedUpFile, Backup, damaged_backup, read_backup
from super_advanced_agents.stores.faiss.rows.schema import VERSION
from super_advanced_agents.stores.folder import StoreFolder


def restore(source: Path, target: Path, *, force: bool = False) -> Path | None:
    """Restore a backup into a folder, after checking every file. Blocks.

    Args:
        source: the backup's folder; it is not changed.
        target: a folder that does not exist yet, or is empty; its store must not be open.
        force: rename a target that is not empty to `<target>.before-restore-<time>` instead of refusing it.

    Returns:
        The new path of the old folder; None if there was none.

    Raises:
        StoreError: there is no backup, it is of a newer version, or the target is not empty and `force` is False.
        CorruptStoreError: a file of the backup is missing or was altered; the target is as it was.
        StoreLockedError: the target's store is in use.
    """
    backup, target = read_backup(source), target.resolve()
    if any(file.identity is not None and file.schema > VERSION for file in backup.files):
        raise StoreError(f"the backup at {str(source)!r} is of a newer version", hint="upgrade super-advanced-agents")
    occupied = is_occupied(target)
    aside = _unused_aside_path(target) if force and occupied else None
    if occupied and not force:
        raise StoreError(
            f"{str(target)!r} is not empty",
            hint="choose another folder, or use force (--force), which keeps the old one beside it",
        )
    with _locked_stores(backup, target), atomic_folder(target, aside=aside) as folder:
        for file in backup.files:
            _copy_checked(backup, file, folder / file.name)
    return aside


@contextmanager
def _locked_stores(backup: Backup, target: Path) -> Iterator[None]:
    stores = [target / file.name for file in backup.files if file.identity is not None]
    folders = {store.parent for store in stores if store.exists()}
    with ExitStack() as locks:
        for folder in sorted(folders):
            locks.callback(StoreFolder(folder).release)
        yield


def _copy_checked(backup: Backup, file: BackedUpFile, target: Path) -> None:
    create_folder(target.parent)
    try:
        shutil.copyfile(backup.path / file.name, private_file(target))
    except FileNotFoundError as exc:
        raise damaged_backup(backup.path, file.name) from exc
    if target.stat().st_size != file.size_bytes or sha256_of(target) != file.sha256:
        raise damaged_backup(backup.path, file.name)


def _unused_aside_path(target: Path) -> Path:
    timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = target.with_name(f"{target.name}.before-restore-{timestamp}")
    while path.exists():
        path = path.with_name(f"{path.name}+")
    return path
