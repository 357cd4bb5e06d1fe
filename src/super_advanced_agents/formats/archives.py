"""Zip files: their members as contents of their own, within limits that no zip bomb passes."""

from __future__ import annotations

import io
import lzma
import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO, TYPE_CHECKING, cast

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.parts import NotUnderstoodError, UnreadableError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

MAX_MEMBERS = 100_000
MAX_UNPACKED_BYTES = 8 << 30
_MAX_RATIO = 200
_DIRECTORY_BYTES = 32 << 20
_ENTRY = b"PK\x01\x02"
_BUFFER_BYTES = 64 * 1024
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
)
_FREE_BYTES = 64 << 20  # so much may be unpacked at any ratio


def is_archive(content: Content) -> bool:
    """Return whether a file is a zip file."""
    return content.head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def open_archive(file: IO[bytes]) -> zipfile.ZipFile:
    """Open a zip file whose directory is within the limits, before it takes memory.

    Raises:
        NotUnderstoodError: it is damaged, or its directory is too long.
    """
    try:
        return zipfile.ZipFile(cast("IO[bytes]", _ArchiveFile(file)))
    except NotUnderstoodError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as exc:
        raise NotUnderstoodError("the zip file is damaged") from exc


def open_members(archive: zipfile.ZipFile, name: str) -> Iterator[Content]:
    """Yield the members of a zip file in the order of their names.

    A member's name is the archive's, `/`, and its own path. Only what is read is unpacked, and never to the disk.

    Args:
        archive: the open zip file, which has to stay open.
        name: the name of the zip file.

    Raises:
        NotUnderstoodError: it holds too many members, unpacks to too much, or is an office document.
    """
    members = {info.filename for info in archive.infolist() if not info.is_dir()}
    if "[Content_Types].xml" in members or "mimetype" in members:
        raise NotUnderstoodError("it is an office document or a book")
    _check_size(archive, len(members))
    yield from member_contents(archive, name)


def member_contents(archive: zipfile.ZipFile, name: str) -> Iterator[Content]:
    """Yield the members of a zip file that `open_members` has checked, as it does."""
    members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    contents: dict[str, Content] = {}

    def content_of(path: str) -> Content | None:
        info = members.get(path)
        if info is None:
            return None
        if path not in contents:
            contents[path] = Content(
                f"{name}/{path.lstrip('/')}",
                partial(_open_member, archive, info),
                beside=lambda relative: content_of(
                    posixpath.normpath(posixpath.join(posixpath.dirname(path), relative))
                ),
                named=False,
            )
        return contents[path]

    for path in sorted(members):
        content = content_of(path)
        if content is not None:
            yield content


def _check_size(archive: zipfile.ZipFile, members: int) -> None:
    infos = archive.infolist()
    unpacked, packed = sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
    if members > MAX_MEMBERS:
        raise NotUnderstoodError(f"it holds {members} files, the limit is {MAX_MEMBERS}", hint="unpack it")
    if unpacked > MAX_UNPACKED_BYTES or unpacked > max(_FREE_BYTES, packed * _MAX_RATIO):
        raise NotUnderstoodError("it unpacks to more than is read", hint="unpack it, and import the folder")


def _open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    if info.flag_bits & 1:
        raise NotUnderstoodError("it is encrypted", hint="unpack it")
    try:
        # A member never gives more bytes than the directory says, which were counted.
        return io.BufferedReader(_Member(archive.open(info)), _BUFFER_BYTES)
    except _DAMAGE as exc:
        raise UnreadableError("it cannot be unpacked") from exc


class _ArchiveFile:
    # `ZipFile` reads the whole directory in one piece, and makes an object of each entry before anybody can count them.

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close
        self._read = file.read

    def read(self, size: int = -1) -> bytes:
        if size > _DIRECTORY_BYTES:
            raise NotUnderstoodError(
                f"its directory is longer than {_DIRECTORY_BYTES >> 20} MiB, the limit", hint="unpack it"
            )
        content = self._read(size)
        if content.count(_ENTRY) > MAX_MEMBERS:
            raise NotUnderstoodError(f"it holds more than {MAX_MEMBERS} files, the limit", hint="unpack it")
        return content


class _Member(io.RawIOBase):
    # Damage shows while a member is read: its checksum stands behind its last byte.

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        try:
            content = self._file.read(len(view))
        except _DAMAGE as exc:
            raise UnreadableError("it cannot be unpacked") from exc
        view[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()
