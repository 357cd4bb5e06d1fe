"""The folder of one downloaded model: its files, their checks, its manifest and its lock."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from super_advanced_agents._runtime.disk.files import sha256_of
from super_advanced_agents.errors import (
    ConfigurationError,
    InvalidInputError,
    ModelNotFoundError,
    StoreFullError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.models.registry import ModelFile, ModelSpec
from super_advanced_agents.types import JSONValue

MANIFEST = "manifest.json"


def default_models_dir() -> Path:
    """Return the default parent folder of all models' folders, in the user's cache folder.

    It is `super-advanced-agents/models` in `$XDG_CACHE_HOME`, or in `~/.cache` when that is unset (XDG Base Directory
    Specification). Only this variable of the platform is read here; the package's own environment variables are read by
    `cli` and `server`, which pass a folder.
    """
    base = os.path.expandvars("$XDG_CACHE_HOME")
    try:
        cache = Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()
    except RuntimeError as exc:
        raise ConfigurationError(
            "this user has no home folder for the models", hint="set HOME or XDG_CACHE_HOME, or give --models-dir"
        ) from exc
    return cache / "super-advanced-agents" / "models"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """The folder of one downloaded model, with methods that check and read its files.

    Attributes:
        spec: the model's entry in the registry.
        path: the folder that holds its files.
    """

    spec: ModelSpec
    path: Path

    def file(self, name: str) -> Path:
        """Check the size of one of the model's files, and return the file's path.

        The right size is in the model's entry in the registry.

        Raises:
            ModelNotFoundError: the file is missing or damaged.
        """
        self._check_size(self._file_spec(name))
        return self.path / name

    def read(self, name: str) -> bytes:
        """Check the sha256 of one of the model's files, and return the file's content.

        The right sha256 is in the model's entry in the registry.

        Raises:
            ModelNotFoundError: the file is missing or damaged.
        """
        expected = self._file_spec(name)
        self._check_size(expected)
        content = (self.path / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != expected.sha256:
            raise self._damaged_error(name, "its sha256 is wrong")
        return content

    def check_sizes(self) -> None:
        """Check that all of the model's files exist with the right size, without reading them.

        Raises:
            ModelNotFoundError: a file is missing or damaged.
        """
        for file in self.spec.files:
            self._check_size(file)

    def damaged_files(self) -> list[ModelFile]:
        """Read all of the model's files, and return those that are missing or have a wrong sha256."""
        return [file for file in self.spec.files if not is_intact(self.path / file.name, file)]

    def manifest(self) -> dict[str, JSONValue]:
        """Return the content of `manifest.json`, which lists the model's files and ONNX graphs.

        Its content can be derived again, so that the result is {} when it is missing or unreadable.
        """
        try:
            manifest = json.loads((self.path / MANIFEST).read_bytes())
        except (OSError, ValueError):
            return {}
        return cast("dict[str, JSONValue]", manifest) if isinstance(manifest, dict) else {}

    def write_manifest(self, manifest: dict[str, JSONValue]) -> None:
        """Replace `manifest.json`, which lists the model's files and ONNX graphs, atomically.

        The caller must hold the folder's lock.
        """
        content = json.dumps(manifest, indent=1, sort_keys=True).encode()
        place_file(self.path / MANIFEST, lambda file: file.write(content))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Enter a context that holds the folder's lock, against other processes and threads.

        It waits until no other holds the lock.

        Pulling a model and building its graphs take this lock.
        """
        with translate_write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = (self.path.parent / f".{self.path.name}.lock").open("ab")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            handle.close()  # closing releases the lock

    def _file_spec(self, name: str) -> ModelFile:
        for file in self.spec.files:
            if file.name == name:
                return file
        raise InvalidInputError(f"the model {self.spec.name!r} has no file {name!r}", field="name")

    def _check_size(self, file: ModelFile) -> None:
        try:
            size = (self.path / file.name).stat().st_size
        except FileNotFoundError as exc:
            raise ModelNotFoundError(
                f"the model {self.spec.name!r} is not in {str(self.path.parent)!r}",
                hint=f"fetch it with: saa pull {self.spec.name}",
            ) from exc
        except OSError as exc:
            raise self._damaged_error(file.name, f"it cannot be read: {exc.strerror}") from exc
        if size != file.size_bytes:
            raise self._damaged_error(file.name, f"it has {size} bytes instead of {file.size_bytes}")

    def _damaged_error(self, name: str, why: str) -> ModelNotFoundError:
        return ModelNotFoundError(
            f"the file {name!r} of the model {self.spec.name!r} is damaged: {why}",
            hint=f"repair it with: saa pull {self.spec.name}",
        )


def is_intact(path: Path, file: ModelFile) -> bool:
    """Return whether the file at `path` exists and has the size and sha256 given by `file`."""
    try:
        return path.stat().st_size == file.size_bytes and sha256_of(path) == file.sha256
    except OSError:
        return False


def place_file(target: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Create or replace the file `target` atomically, and flush it to disk.

    Readers see the old content or the complete new content, also after a power failure.

    Args:
        target: the file; its folder is created when missing.
        write: writes the content to the open file that it gets.

    Raises:
        StoreFullError: no space is left on the disk.
        ConfigurationError: the folder cannot be written.
    """
    with translate_write_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                write(handle)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.chmod(0o644)  # mkstemp's 0600 would hide a shared models folder from other users
            temporary.replace(target)
            sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Flush the folder `path` to disk, so that renames in it survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def translate_write_errors(folder: Path) -> Iterator[None]:
    """Enter a context that translates an `OSError` raised in it into this package's errors.

    The error's message names `folder`, the folder that the context writes to.

    Raises:
        StoreFullError: no space is left on the disk.
        ConfigurationError: the folder cannot be written for another reason.
    """
    try:
        yield
    except OSError as exc:
        raise _disk_error(folder, exc) from exc


def _disk_error(folder: Path, exc: OSError) -> SuperAdvancedAgentsError:
    if exc.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return StoreFullError(
            f"no space is left for model files in {str(folder)!r}", hint="free some space or use another folder"
        )
    return ConfigurationError(
        f"cannot write model files to {str(folder)!r}: {exc.strerror or exc}", hint="choose a folder that is writable"
    )
