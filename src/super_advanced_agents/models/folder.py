"""The folder of one pulled model: where its files are, whether they are whole, and what was derived from them."""

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

from super_advanced_agents._runtime.files import sha256_of
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
    """Where models live unless told otherwise: `super-advanced-agents/models` in the user's cache folder.

    The cache folder is `$XDG_CACHE_HOME`, or `~/.cache` (XDG Base Directory Specification): a convention of the
    platform, like `~` itself. This package's own variables are read by `cli` and `server` alone, which pass a folder.
    """
    base = os.path.expandvars("$XDG_CACHE_HOME")
    cache = Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()
    return cache / "super-advanced-agents" / "models"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """One model on this machine.

    Attributes:
        spec: what the registry knows of it.
        path: the folder that holds its files.
    """

    spec: ModelSpec
    path: Path

    def file(self, name: str) -> Path:
        """Return the path of one file after comparing its size with the registry's.

        Raises:
            ModelNotFoundError: the file is missing or damaged.
        """
        self._check_size(self._file_spec(name))
        return self.path / name

    def read(self, name: str) -> bytes:
        """Return one file's bytes after comparing their sha256 with the registry's.

        Raises:
            ModelNotFoundError: the file is missing or damaged.
        """
        wanted = self._file_spec(name)
        self._check_size(wanted)
        content = (self.path / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != wanted.sha256:
            raise self._damaged(name, "its sha256 is wrong")
        return content

    def check_sizes(self) -> None:
        """Raise `ModelNotFoundError` unless every file is there with the right size; cheap."""
        for file in self.spec.files:
            self._check_size(file)

    def damaged_files(self) -> list[ModelFile]:
        """Return the files that are missing or whose sha256 is wrong; reads all of them."""
        return [file for file in self.spec.files if not is_whole(self.path / file.name, file)]

    def manifest(self) -> dict[str, JSONValue]:
        """Return the manifest; empty when there is none or it cannot be read, since all of it can be made again."""
        try:
            manifest = json.loads((self.path / MANIFEST).read_bytes())
        except (OSError, ValueError):
            return {}
        return cast("dict[str, JSONValue]", manifest) if isinstance(manifest, dict) else {}

    def write_manifest(self, manifest: dict[str, JSONValue]) -> None:
        """Replace the manifest atomically; the caller holds the folder's lock."""
        content = json.dumps(manifest, indent=1, sort_keys=True).encode()
        place_file(self.path / MANIFEST, lambda file: file.write(content))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the model's lock, waiting for another process or thread that pulls or builds the same model."""
        with translated(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = (self.path.parent / f".{self.path.name}.lock").open("ab")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            handle.close()  # closing frees the lock

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
            raise self._damaged(file.name, f"it cannot be read: {exc.strerror}") from exc
        if size != file.size_bytes:
            raise self._damaged(file.name, f"it has {size} bytes instead of {file.size_bytes}")

    def _damaged(self, name: str, why: str) -> ModelNotFoundError:
        return ModelNotFoundError(
            f"the file {name!r} of the model {self.spec.name!r} is damaged: {why}",
            hint=f"repair it with: saa pull {self.spec.name}",
        )


def is_whole(path: Path, file: ModelFile) -> bool:
    """Whether the file at `path` is there with the right size and sha256."""
    try:
        return path.stat().st_size == file.size_bytes and sha256_of(path) == file.sha256
    except OSError:
        return False


def place_file(target: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Make or replace `target` so that readers see the old content or the whole new one, also after a power cut."""
    with translated(target.parent):
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
    """Make renames in `path` last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turn the operating system's errors on writing into the tree's."""
    try:
        yield
    except OSError as exc:
        raise write_error(folder, exc) from exc


def write_error(folder: Path, exc: OSError) -> SuperAdvancedAgentsError:
    """Say what stopped writing to `folder`."""
    if exc.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return StoreFullError(
            f"there is no room left for model files in {str(folder)!r}", hint="free some space or use another folder"
        )
    return ConfigurationError(
        f"cannot write model files to {str(folder)!r}: {exc.strerror or exc}", hint="choose a folder that is writable"
    )
