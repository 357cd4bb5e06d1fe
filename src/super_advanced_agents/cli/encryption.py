"""Exports and backups that are encrypted with age (https://age-encryption.org/v1)."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from super_advanced_agents._runtime.disk.files import map_os_error
from super_advanced_agents.errors import ConfigurationError, CorruptStoreError, InvalidInputError, StoreError

T = TypeVar("T")
SUFFIX = ".age"
_MAX_IDENTITY_BYTES = 64 * 1024


def write_encrypted(target: Path | IO[bytes], recipients: Sequence[str], write: Callable[[IO[bytes]], T]) -> T:
    """Encrypt what a function writes, while it writes.

    A file appears under its name only once it is whole. At no time is anything of it on the disk in the clear. Blocks.

    Args:
        target: the file to make or replace, or an open one.
        recipients: the public keys (`age1...`); each of their identities can decrypt it.
        write: writes to the open file that it gets.

    Returns:
        What `write` returns.

    Raises:
        InvalidInputError: a recipient is no public key of age.
        ConfigurationError: the extra `encryption` is not installed.
        StoreError: the file cannot be written.
    """
    from super_advanced_agents.stores.transfer.output import OutputFile

    age = _age()
    keys = [_recipient(age, text) for text in recipients]
    output = OutputFile(target) if isinstance(target, Path) else None
    stream = target if output is None else output.file
    try:
        result = _piped(lambda source: age.encrypt_io(source, stream, keys), write)
        if output is not None:
            output.commit()
    except OSError as exc:
        raise map_os_error(exc, Path("the encrypted file") if output is None else output.path) from exc
    except BaseException:
        if output is not None:
            output.discard()
        raise
    return result


def back_up_encrypted(target: Path, recipients: Sequence[str], back_up: Callable[[Path], T]) -> T:
    """Make a backup in a private folder, and pack it into an encrypted tar file.

    The folder with the backup in the clear is removed in any case.

    Args:
        target: the file to make; it must not exist.
        recipients: the public keys (`age1...`).
        back_up: makes the backup in a new folder.

    Returns:
        What `back_up` returns.
    """
    if target.exists():
        raise StoreError(f"{str(target)!r} exists", hint="name a new file")
    for text in recipients:
        _recipient(_age(), text)  # before the work
    with _private_folder(target.absolute().parent) as folder:
        result = back_up(folder / "backup")

        def pack(stream: IO[bytes]) -> None:
            with tarfile.open(fileobj=stream, mode="w|") as archive:
                archive.add(folder / "backup", arcname=".")

        write_encrypted(target, recipients, pack)
    return result


@contextmanager
def decrypted_backup(source: Path, identity: Path, beside: Path) -> Iterator[Path]:
    """Enter with a private folder that holds the backup of an encrypted file.

    It is removed at the end.

    Args:
        source: the file that `back_up_encrypted` made.
        identity: the file with the secret keys (`AGE-SECRET-KEY-1...`).
        beside: the data folder; the backup is unpacked on the same disk.

    Raises:
        CorruptStoreError: the file was changed, or holds no backup.
        InvalidInputError: none of the identities can decrypt it.
    """
    beside.absolute().parent.mkdir(parents=True, exist_ok=True)
    with _private_folder(beside.absolute().parent) as folder:

        def unpack(stream: IO[bytes]) -> None:
            try:
                with tarfile.open(fileobj=stream, mode="r|") as archive:
                    archive.extractall(folder, filter="data")
            except (tarfile.TarError, EOFError) as exc:
                raise CorruptStoreError(f"{str(source)!r} holds no backup", hint="name another file") from exc

        _read_encrypted(source, identity, unpack)
        yield folder


@contextmanager
def decrypted_files(paths: Sequence[Path], identity: Path | None, near: Path) -> Iterator[list[Path]]:
    """Enter with the paths, and private copies in the clear in the place of encrypted files.

    The copies are removed at the end.

    Args:
        paths: files and folders; encrypted are those whose names end with `.age`.
        identity: the file with the secret keys; None where nothing is decrypted.
        near: the folder below which the copies are made, such as the data folder.

    Raises:
        InvalidInputError: a file is encrypted and there is no identity, or none that can decrypt it.
        CorruptStoreError: a file was changed.
    """
    encrypted = [path for path in paths if path.suffix == SUFFIX and path.is_file()]
    if not encrypted:
        yield list(paths)
        return
    if identity is None:
        raise InvalidInputError(
            f"{str(encrypted[0])!r} is encrypted", field="--identity", hint="name the file with the secret key of age"
        )
    near.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _private_folder(near) as folder:
        copies = {}
        for number, path in enumerate(encrypted):
            copy = folder / str(number) / path.stem
            copy.parent.mkdir(mode=0o700)
            _decrypt(path, identity, copy)
            copies[path] = copy
        yield [copies.get(path, path) for path in paths]


def _decrypt(source: Path, identity: Path, copy: Path) -> None:
    with copy.open("xb") as stream:
        _read_encrypted(source, identity, lambda clear: shutil.copyfileobj(clear, stream))


def _read_encrypted(source: Path, identity: Path, read: Callable[[IO[bytes]], object]) -> None:
    age = _age()
    keys = _identities(age, identity)
    try:
        with source.open("rb") as file:

            def write(stream: IO[bytes]) -> None:
                try:
                    age.decrypt_io(file, stream, keys)
                except (age.DecryptError, OSError) as exc:
                    if isinstance(exc, OSError) and exc.errno is not None:  # of the pipe or the disk, and not of age
                        raise
                    if "match" in str(exc).lower():
                        raise InvalidInputError(
                            f"no key in {str(identity)!r} can decrypt {str(source)!r}",
                            field="--identity",
                            hint="name the file with the secret key of one of its recipients",
                        ) from None
                    raise CorruptStoreError(
                        f"{str(source)!r} is no file of age, or was changed", hint="use another copy"
                    ) from None

            _piped(read, write)
    except OSError as exc:
        raise map_os_error(exc, source) from exc


def _piped(read: Callable[[IO[bytes]], object], write: Callable[[IO[bytes]], T]) -> T:
    # `read` runs in a thread, and at most the 64 KiB of a pipe are between it and `write`.
    failed: list[BaseException] = []
    source_fd, sink_fd = os.pipe()

    def drain() -> None:
        with os.fdopen(source_fd, "rb") as source:
            try:
                read(source)
                while source.read(65_536):  # else the writer would see a broken pipe
                    pass
            except BaseException as exc:
                failed.append(exc)

    reader = threading.Thread(target=drain, name="age")
    reader.start()
    try:
        with os.fdopen(sink_fd, "wb") as sink:
            result = write(sink)
    except BrokenPipeError:
        reader.join()
        raise failed[0] if failed else StoreError("the file cannot be written") from None
    except BaseException:
        reader.join()
        raise
    reader.join()
    if failed:
        raise failed[0]
    return result


@contextmanager
def _private_folder(parent: Path) -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix=".saa-", dir=parent)  # 0700
    except OSError as exc:
        raise map_os_error(exc, parent) from exc
    with folder as name:
        yield Path(name)


def _age() -> Any:
    try:
        import pyrage
    except ImportError as exc:
        raise ConfigurationError(
            "encryption needs the extra `encryption`", hint="pip install 'super-advanced-agents[encryption]'"
        ) from exc
    return pyrage


def _recipient(age: Any, text: str) -> object:
    try:
        return age.x25519.Recipient.from_str(text.strip())
    except age.RecipientError:
        raise InvalidInputError(
            "a recipient is no public key of age",
            field="--encrypt-to",
            hint="it begins with age1; age-keygen makes one",
        ) from None


def _identities(age: Any, file: Path) -> list[object]:
    try:
        with file.open("rb") as stream:
            text = stream.read(_MAX_IDENTITY_BYTES).decode()
        lines = [line.strip() for line in text.splitlines()]
        keys = [age.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except OSError as exc:
        raise map_os_error(exc, file) from exc
    except (age.IdentityError, UnicodeDecodeError):
        keys = []
    if not keys:
        raise InvalidInputError(
            f"{str(file)!r} holds no secret key of age", field="--identity", hint="a line begins with AGE-SECRET-KEY-1"
        )
    return keys
