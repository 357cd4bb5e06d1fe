"""Atomic creation of folders: a new folder appears complete and flushed, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from super_advanced_agents._runtime.disk.files import fsync_folder, map_os_error
from super_advanced_agents.errors import StoreError, StoreLockedError
from super_advanced_agents.stores.local.folder import LOCK_FILE, StoreFolder


def is_occupied(target: Path) -> bool:
    """Return True if `target` is a file, or a folder that is not empty."""
    return target.exists() and (not target.is_dir() or any(target.iterdir()))


@contextmanager
def atomic_folder(target: Path, *, aside: Path | None = None) -> Iterator[Path]:
    """Enter a context with a temporary folder that becomes `target` when the context is left.

    On leaving, the folder is flushed to disk and renamed. A body that fails leaves nothing behind.

    Args:
        target: the path of the new folder; on the way it is called `.<name>.part`, in the same parent.
        aside: a new name for the folder that is there already; None if `target` is missing or empty. A kill between the
            two renames leaves no target.

    Raises:
        StoreError: `target` is a mount point or cannot be written.
        StoreLockedError: another process is writing the same target.
    """
    if target.is_mount():
        raise StoreError(f"{str(target)!r} is a mount point, which cannot be replaced", hint="use a folder below it")
    part = target.with_name(f".{target.name}.part")
    with _exclusive_lock(part, target) as lock:
        try:
            for left_over in part.iterdir():  # from a process that was killed
                if left_over != lock:
                    shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
            yield part
            lock.unlink()
            _flush(part)
            _rename(part, target, aside)
        except OSError as exc:
            shutil.rmtree(part, ignore_errors=True)
            raise map_os_error(exc, target) from exc
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def _rename(part: Path, target: Path, aside: Path | None) -> None:
    if aside is not None:
        target.rename(aside)
    try:
        part.rename(target)
    except OSError:
        if aside is not None:
            aside.rename(target)
        raise
    fsync_folder(target.parent)


@contextmanager
def _exclusive_lock(part: Path, target: Path) -> Iterator[Path]:
    try:
        owner = StoreFolder(part)
    except StoreLockedError as exc:
        raise StoreLockedError(
            f"another process is writing {str(target)!r}", hint="wait for it, or choose another folder"
        ) from exc
    try:
        yield part / LOCK_FILE
    finally:
        owner.release()


def _flush(folder: Path) -> None:
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            with Path(parent, name).open("rb+") as file:
                os.fsync(file.fileno())
        fsync_folder(Path(parent))
