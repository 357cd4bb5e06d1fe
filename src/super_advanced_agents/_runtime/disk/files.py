"""Private, checked and flushed files, and conversion of `OSError` to this package's errors."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from super_advanced_agents.errors import OverloadedError, StoreError, StoreFullError
from super_advanced_agents.telemetry import get_logger

_log = get_logger("files")
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_GROUP_AND_OTHERS = 0o077
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_RETRY_AFTER_S = 1.0


def private_folder(path: Path) -> Path:
    """Create a folder, or restrict an existing one, so that only this OS user may access it.

    Missing parents are created in the same way. The new folders survive a power loss.

    Returns:
        The path, for chaining.

    Raises:
        StoreError: the folder cannot be created, or its permissions cannot be changed.
        StoreFullError: the disk is full.
    """
    try:
        if not create_folder(path) and _shared(path):
            path.chmod(_FOLDER_MODE)
            _log_restricted([path])
    except OSError as exc:
        raise map_os_error(exc, path) from exc
    return path


def create_folder(path: Path) -> bool:
    """Create a folder with its parents, each for this OS user alone; return False if it exists.

    Raises:
        OSError: it cannot be created.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    for folder in reversed(missing):
        with suppress(FileExistsError):  # another process has just created it
            folder.mkdir(mode=_FOLDER_MODE)
            give_to_owner_of(folder.parent, folder)
            if stat.S_IMODE(folder.stat().st_mode) & 0o777 != _FOLDER_MODE:  # a strict umask took rights of the owner
                folder.chmod(_FOLDER_MODE)
        fsync_folder(folder.parent)  # else a power loss may undo the creation
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    return path in missing


def private_file(path: Path) -> Path:
    """Create an empty file, or restrict an existing one, so that only this OS user may read it.

    An existing file is not opened: closing it would drop the locks that SQLite holds on it in this process.

    Returns:
        The path, for chaining.

    Raises:
        OSError: the file cannot be created, or its permissions cannot be changed.
    """
    try:
        os.close(open_private(path, os.O_RDWR | os.O_EXCL))
    except FileExistsError:
        if _shared(path):
            path.chmod(_FILE_MODE)
            _log_restricted([path])
    return path


def open_private(path: Path, flags: int) -> int:
    """Open a file, created if missing, that only this OS user may read; return its descriptor.

    There is no moment in which others could read what is written: an existing file is restricted first.

    Raises:
        OSError: the file cannot be created or opened, or its permissions cannot be changed.
    """
    created = False
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        created = True
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
    try:
        if created:
            give_to_owner_of(path.parent, descriptor)
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) & 0o777 != _FILE_MODE:
            os.fchmod(descriptor, _FILE_MODE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def give_to_owner_of(folder: Path, made: Path | int) -> None:
    """Give a file or folder that root has just made in another user's folder to that user.

    It would keep the user, such as that of a server, out otherwise. What existed before must not be given away: the
    user may have planted a link to a file of root's.

    Args:
        folder: the folder in which it was made.
        made: its path or descriptor.

    Raises:
        OSError: it cannot be given away.
    """
    if os.geteuid() == 0 and (owner := folder.stat()).st_uid != 0:
        os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=isinstance(made, int))


def restrict(paths: Iterable[Path]) -> None:
    """Take the rights of group and others from files and folders that this OS user owns.

    Symbolic links, missing files and those of other users are left as they are. One log line tells what was changed,
    and one what could not be changed, as on a file system without permissions.
    """
    restricted: list[Path] = []
    for path in paths:
        try:
            status = path.lstat()
            is_folder = stat.S_ISDIR(status.st_mode)
            if not (is_folder or stat.S_ISREG(status.st_mode)) or status.st_uid != os.geteuid():
                continue
            if stat.S_IMODE(status.st_mode) & _GROUP_AND_OTHERS:
                path.chmod(_FOLDER_MODE if is_folder else _FILE_MODE)
                restricted.append(path)
        except FileNotFoundError:
            continue
        except OSError as exc:
            _log.warning("files.not_restricted", extra={"path": str(path), "reason": exc.strerror or str(exc)})
            break
    _log_restricted(restricted)


def _shared(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & _GROUP_AND_OTHERS)


def _log_restricted(paths: list[Path]) -> None:
    if paths:
        _log.warning("files.restricted", extra={"path": str(paths[0]), "count": len(paths)})


def sha256_of(file: Path) -> str:
    """Return the SHA-256 checksum of a file in hexadecimal.

    The file is read in parts, so a large file needs no more memory.
    """
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def map_os_error(exc: OSError, path: object) -> StoreError | OverloadedError:
    """Convert an `OSError` on a file or folder to an error of this package, and return it."""
    if exc.errno in _OUT_OF_DESCRIPTORS:
        return out_of_descriptors_error()
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError(f"no room on the disk for {str(path)!r}", hint="free some, then try again")
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreError(f"{str(path)!r} cannot be written", hint="choose another, or change its permissions")
    if exc.errno in (errno.ENOTDIR, errno.EEXIST):
        return StoreError(f"{str(path)!r} is not a folder", hint="choose another path")
    return StoreError(f"cannot write {str(path)!r}: {exc.strerror}", hint="choose another path")


def raise_if_out_of_descriptors(exc: Exception) -> None:
    """Raise `OverloadedError` if an error, of any library, says that too many files are open."""
    # The words of ENFILE begin with those of EMFILE.
    if exc.errno in _OUT_OF_DESCRIPTORS if isinstance(exc, OSError) else os.strerror(errno.EMFILE) in str(exc):
        raise out_of_descriptors_error() from exc


def has_free_descriptors(count: int) -> bool:
    """Return whether this number of files can be opened now.

    It is for errors that do not say why a file was not opened.
    """
    with ExitStack() as stack:
        try:
            for _ in range(count):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as exc:
            return exc.errno not in _OUT_OF_DESCRIPTORS
    return True


def out_of_descriptors_error() -> OverloadedError:
    """Return the error of a file that was not opened because too many others are open."""
    return OverloadedError(
        "too many files are open", retry_after_s=_RETRY_AFTER_S, hint="try again later, or raise the limit: ulimit -n"
    )


def fsync_folder(folder: Path) -> None:
    """Sync a folder with `fsync`, so that new and renamed files in it survive a power loss."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
