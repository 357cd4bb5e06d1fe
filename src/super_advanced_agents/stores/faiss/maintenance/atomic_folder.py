"""A folder that appears under its name in one step, whole and flushed, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from super_advanced_agents._runtime.files import map_os_error
from super_advanced_agents._runtime.flushing import fsync_folder
from super_advanced_agents.errors import StoreError, StoreLockedError
from super_advanced_agents.stores.folder import LOCK_FILE, StoreFolder


def is_occupied(target: Path) -> bool:
    """Whether something is there that is not an empty folder."""
    return target.exists() and (not target.is_dir() or any(target.iterdir()))


@contextmanager
def atomic_folder(target: Path, *, aside: Path | None = None) -> Iterator[Path]:
    """A folder that appears as `target`, flushed, when the body has ended; a body that fails leaves nothing behind.

    What is there already is renamed to `aside` in the last moment; a kill between the two renames leaves no target.
    """
    if target.is_mount():
        raise StoreError(f"{str(target)!r} is a mount point, which cannot be replaced", hint="use a folder below it")
    begun = target.with_name(f".{target.name}.part")
    with _alone(begun, target) as lock:
        try:
            for left_over in begun.iterdir():  # by one that was killed
                if left_over != lock:
                    shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
            yield begun
            lock.unlink()
            _flush(begun)
            _rename(begun, target, aside)
        except OSError as exc:
            shutil.rmtree(begun, ignore_errors=True)
            raise map_os_error(exc, target) from exc
        except BaseException:
            shutil.rmtree(begun, ignore_errors=True)
            raise


def _rename(begun: Path, target: Path, aside: Path | None) -> None:
    if aside is not None:
        target.rename(aside)
    try:
        begun.rename(target)
    except OSError:
        if aside is not None:
            aside.rename(target)
        raise
    fsync_folder(target.parent)


@contextmanager
def _alone(begun: Path, target: Path) -> Iterator[Path]:
    """No other backup or restore makes the same target meanwhile; gives the file that says so."""
    try:
        owner = StoreFolder(begun)
    except StoreLockedError as exc:
        raise StoreLockedError(
            f"another process is writing {str(target)!r}", hint="wait for it, or choose another name"
        ) from exc
    try:
        yield begun / LOCK_FILE
    finally:
        owner.release()


def _flush(folder: Path) -> None:
    """Flush every file and folder below `folder`, itself included."""
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            with Path(parent, name).open("rb+") as file:
                os.fsync(file.fileno())
        fsync_folder(Path(parent))
