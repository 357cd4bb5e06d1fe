"""Restore of backups: atomic, and checked before the target folder changes."""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from super_advanced_agents._runtime.disk.files import create_folder, private_file
from super_advanced_agents.errors import CorruptStoreError, StoreError
from super_advanced_agents.stores.faiss.maintenance.atomic_folder import atomic_folder, is_occupied
from super_advanced_agents.stores.faiss.maintenance.backup import (
    DATABASES,
    BackedUpFile,
    Backup,
    check_copy,
    damaged_backup,
    open_regular,
    read_backup,
)
from super_advanced_agents.stores.faiss.rows.schema import VERSION
from super_advanced_agents.stores.local.folder import LOCK_FILE, StoreFolder

_CHUNK_BYTES = 1 << 20


OnRestored = Callable[[Backup, Path], None]
"""Callback with the backup and the folder of the verified copies, before that is renamed."""


def restore(
    source: Path,
    target: Path,
    *,
    force: bool = False,
    accepts: Callable[[str], bool] = DATABASES.__contains__,
    on_restored: OnRestored = lambda backup, folder: None,
    locks: Sequence[str] = ("",),
) -> Path | None:
    """Restore a backup into a folder, after checking every name, file and database in it. Blocks.

    Args:
        source: the backup's folder; it is not changed.
        target: a folder that does not exist yet, or is empty; its store must not be open.
        force: rename a target that is not empty to `<target>.before-restore-<time>` instead of refusing it.
        accepts: returns whether a backup may hold a database or folder of a name; others are refused.
        on_restored: checks and completes the copied files; what it raises leaves the target as it was.
        locks: the folders below a target in use whose locks guard it.

    Returns:
        The new path of the old folder; None if there was none.

    Raises:
        StoreError: there is no backup, it is of a newer version, or the target is not empty and `force` is False.
        CorruptStoreError: a name in the backup is not one of this package, or a file is missing, damaged, altered, or a
            symbolic link; the target is as it was.
        StoreLockedError: the target's store is in use.
    """
    backup, target = read_backup(source), target.resolve()
    if any(file.identity is not None and file.schema > VERSION for file in backup.files):
        raise StoreError(f"the backup at {str(source)!r} is of a newer version", hint="upgrade super-advanced-agents")
    if not all(accepts(name) for name in (*(file.name for file in backup.files), *(backup.folders or ()))):
        raise CorruptStoreError(
            f"the backup at {str(source)!r} holds other files than those of a backup", hint="use another backup"
        )
    occupied = is_occupied(target)
    aside = _unused_aside_path(target) if force and occupied else None
    if occupied and not force:
        raise StoreError(
            f"{str(target)!r} is not empty",
            hint="choose another folder, or use force (--force), which keeps the old one beside it",
        )
    with _locked(target, locks, occupied=occupied), atomic_folder(target, aside=aside) as folder:
        for file in backup.files:
            _copy_checked(backup, file, folder)
        for name in backup.folders or ():
            create_folder(folder / name)
        on_restored(backup, folder)
    return aside


@contextmanager
def _locked(target: Path, locks: Sequence[str], *, occupied: bool) -> Iterator[None]:
    # A folder of any kind that a process holds is refused, whatever the backup holds.
    with ExitStack() as held:
        if occupied and target.is_dir():
            guards = [target / name for name in locks]
            others = {file.parent for file in target.rglob(LOCK_FILE)} - set(guards)
            for folder in sorted(others):
                StoreFolder(folder).release()  # not held: there may be more of them than files may be open
            for folder in guards:
                if folder != target or any((folder / name).exists() for name in (LOCK_FILE, *DATABASES)):
                    held.callback(StoreFolder(folder).release)
        yield


def _copy_checked(backup: Backup, file: BackedUpFile, folder: Path) -> None:
    target, digest, left = folder / file.name, hashlib.sha256(), file.size_bytes
    create_folder(target.parent)
    try:
        with open_regular(backup.path, file.name) as source, private_file(target).open("wb") as copy:
            while left >= 0 and (chunk := source.read(_CHUNK_BYTES)):
                left -= len(chunk)
                digest.update(chunk)
                copy.write(chunk)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL):  # missing, a link, or no plain file
            raise damaged_backup(backup.path, file.name) from exc
        raise
    if left or digest.hexdigest() != file.sha256 or check_copy(folder, file.name) != file:
        raise damaged_backup(backup.path, file.name)


def _unused_aside_path(target: Path) -> Path:
    timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = target.with_name(f"{target.name}.before-restore-{timestamp}")
    while path.exists():
        path = path.with_name(f"{path.name}+")
    return path
