"""Putting a backup back: checked before anything is touched, and in one step."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from super_advanced_agents._runtime.files import sha256_of
from super_advanced_agents.errors import StoreError
from super_advanced_agents.stores.faiss.maintenance.atomic_folder import is_occupied, atomic_folder
from super_advanced_agents.stores.faiss.maintenance.backup import BackedUpFile, Backup, damaged_backup, read_backup
from super_advanced_agents.stores.faiss.rows.schema import VERSION
from super_advanced_agents.stores.folder import StoreFolder


def restore(source: Path, target: Path, *, force: bool = False) -> Path | None:
    """Put a backup in the place of a folder, checked before anything of the old one is touched. Blocks.

    Args:
        source: a backup's folder; it stays as it is.
        target: a folder that does not exist yet, or is empty; nobody may have its store open.
        force: a target that is not empty is renamed to `<target>.before-restore-<time>`.

    Returns:
        Where the old folder is now; None if there was none.

    Raises:
        StoreError: there is no backup, it is of a newer version, or the target is not empty and `force` was not given.
        CorruptStoreError: a file of the backup is missing or was altered; the target is as it was.
        StoreLockedError: the target's store is in use.
    """
    backup, target = read_backup(source), target.resolve()
    if any(file.identity is not None and file.schema > VERSION for file in backup.files):
        raise StoreError(f"the backup at {str(source)!r} is of a newer version", hint="upgrade super-advanced-agents")
    replaced = is_occupied(target)
    aside = _aside(target) if force and replaced else None
    if replaced and not force:
        raise StoreError(
            f"{str(target)!r} is not empty",
            hint="choose another folder, or use force (--force), which keeps the old one beside it",
        )
    with _owned(backup, target), atomic_folder(target, aside=aside) as folder:
        for file in backup.files:
            _copy_checked(backup, file, folder / file.name)
    return aside


@contextmanager
def _owned(backup: Backup, target: Path) -> Iterator[None]:
    """Nobody has the stores that are about to be replaced open."""
    stores = [target / file.name for file in backup.files if file.identity is not None]
    folders = {store.parent for store in stores if store.exists()}
    with ExitStack() as owners:
        for folder in sorted(folders):
            owners.callback(StoreFolder(folder).release)
        yield


def _copy_checked(backup: Backup, file: BackedUpFile, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(backup.path / file.name, target)
    except FileNotFoundError as exc:
        raise damaged_backup(backup.path, file.name) from exc
    if target.stat().st_size != file.size_bytes or sha256_of(target) != file.sha256:
        raise damaged_backup(backup.path, file.name)


def _aside(target: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    wanted = target.with_name(f"{target.name}.before-restore-{stamp}")
    while wanted.exists():
        wanted = wanted.with_name(f"{wanted.name}+")
    return wanted
