"""Input files of `saa import`, found in folders and zip files."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import IO

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.formats import Content, FileFormat, NotUnderstoodError
from super_advanced_agents.formats.archives import is_archive, open_archive, open_members
from super_advanced_agents.formats.content import file_content
from super_advanced_agents.formats.parser_process import FileToParse

STDIN = "stdin"
_MAX_SOURCE_CHARS = 1_024
_COMPARED_BYTES = 64 * 1024


@dataclass(frozen=True)
class Input:
    """A file to import, a member of a zip file, or standard input.

    Attributes:
        content: what it holds; its name is the `source` of its memories: the path below the folder that was given, that
            folder's own name first, so that it does not depend on the working directory.
        path: the path of the file, or of the zip file that it is a member of; None for standard input.
        location: the absolute path, that of a member behind that of its zip file; empty for standard input.
        inner: the path of a member in its zip file; empty for others.
    """

    content: Content
    path: Path | None
    location: str
    inner: str = ""

    @property
    def source(self) -> str:
        """The name of the file in its memories."""
        return self.content.name or STDIN

    @cached_property
    def file_id(self) -> str:
        """A digest of the location: the same file has it at every import, wherever the import began."""
        return digest_of_location(self.location)


def digest_of_location(location: str) -> str:
    """Return the id of the file at an absolute path; it does not tell the path."""
    return blake2b(location.encode(errors="surrogateescape"), digest_size=8).hexdigest()


class Inputs:
    """The files below the paths that a command was given, in stable order.

    Args:
        paths: files and folders; `-` is standard input.
        stack: closes what is opened.
        without: a folder that is not looked into, such as that of the data.

    Attributes:
        folders: the absolute paths of the folders that were given, and of those of the files that were.
        subfolders: those below the given folders.
        complete: the absolute paths below which every file that is imported was found, so that others have vanished.
        passed_over: for each reason, the number of files and folders left out.

    Raises:
        InvalidInputError: a path does not exist.
    """

    def __init__(self, paths: list[Path], stack: ExitStack, *, without: Path | None = None) -> None:
        for path in paths:
            if str(path) != "-" and not path.exists():
                raise InvalidInputError(f"there is no file {str(path)!r}", field="paths", hint="check the path")
        self._paths = paths
        self._stack = stack
        self._without = None if without is None else str(without.resolve())
        self._contents: dict[Path, Content] = {}
        self.folders: list[str] = []
        self.subfolders: list[str] = []
        self.complete: list[str] = []
        self.passed_over: Counter[str] = Counter()

    def find(self) -> Iterator[Input]:
        """Yield the files, each once; zip files as they are."""
        seen: set[str] = set()
        for path in self._paths:
            found = (
                [self._stdin()] if str(path) == "-" else self._in_folder(path) if path.is_dir() else self._single(path)
            )
            for file in found:
                if file.location not in seen:
                    seen.add(file.location)
                    yield file

    def members(self, file: Input) -> Iterator[Input]:
        """Yield the members of a zip file.

        Raises:
            NotUnderstoodError: the file is damaged, or beyond a limit.
        """
        archive = self._stack.enter_context(open_archive(self._stack.enter_context(file.content.open())))
        prefix = f"{file.source}/"
        for member in open_members(archive, file.source):
            inner = member.name[len(prefix) :]
            if any(part.startswith((".", "__MACOSX")) for part in inner.split("/")):
                self.passed_over["hidden"] += 1
                continue
            member.name = _sanitize_name(member.name)
            yield Input(member, file.path, f"{file.location}/{inner}", inner)
        self.complete.append(file.location)

    def _single(self, path: Path) -> Iterator[Input]:
        whole = path.absolute()
        location = whole.parent.resolve() / whole.name
        self.folders.append(str(location.parent))
        yield Input(self._content(location, path.name, named=True), path, str(location))

    def _in_folder(self, folder: Path) -> Iterator[Input]:
        root = folder.resolve()
        self.folders.append(str(root))
        self.complete.append(str(root))
        for parent, folders, files in os.walk(root):
            links = [name for name in folders if Path(parent, name).is_symlink()]
            hidden = [name for name in folders if name.startswith(".") and name not in links]
            own = [name for name in folders if os.path.join(parent, name) == self._without]  # noqa: PTH118 - as below
            self._count(links=len(links), hidden=len(hidden))
            folders[:] = sorted(set(folders).difference(links, hidden, own))
            self.subfolders += [os.path.join(parent, name) for name in folders]  # noqa: PTH118 - a thousandth of the time
            for name in sorted(files):
                path = Path(parent, name)
                if name.startswith(".") or not path.is_file():
                    self._count(hidden=1)
                    continue
                source = f"{root.name}/{path.relative_to(root).as_posix()}" if root.name else path.as_posix()
                yield Input(self._content(path, source, named=False), path, str(path))

    def _count(self, **counts: int) -> None:
        for reason, count in counts.items():
            if count:
                self.passed_over[reason] += count

    def _content(self, path: Path, source: str, *, named: bool) -> Content:
        return file_content(path, _sanitize_name(source), named=named, known=self._contents)

    def _stdin(self) -> Input:
        return Input(Content("", _Spool(self._stack).open), None, "")


class _Spool:
    # Standard input can be read only once, and its format is found out before it is parsed.

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._file: IO[bytes] | None = None

    def open(self) -> IO[bytes]:
        if self._file is None:
            self._file = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
            shutil.copyfileobj(sys.stdin.buffer, self._file)
            self._file.flush()
        self._file.seek(0)
        return os.fdopen(os.dup(self._file.fileno()), "rb")


def _sanitize_name(name: str) -> str:
    # A file name may hold control characters and any length; a memory's source may not.
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)[-_MAX_SOURCE_CHARS:]


def file_to_parse(file: Input, format_: FileFormat) -> FileToParse:
    """Return a file as another process finds it; standard input has no place there."""
    if file.path is None:
        raise NotUnderstoodError("standard input cannot be parsed in another process")
    return FileToParse(
        path=file.path,
        format_name=format_.name,
        name=file.content.name,
        inner=file.inner,
        named=file.content.named,
    )


def is_zip(file: Input) -> bool:
    """Return whether a file is a zip file."""
    return is_archive(file.content)


def without_unpacked(files: list[Input]) -> list[Input]:
    """Return the files without those members of zip files that are among them unpacked, too.

    Beside its zip file, or in a folder of its name, a file is the unpacked member even when it was edited since.
    Elsewhere it is one if its path ends like the member's, and its content is equal.
    """
    plain = {file.location: file for file in files if file.location and not file.inner}
    by_name: dict[str, list[Input]] = defaultdict(list)
    for location, file in plain.items():
        by_name[location.rpartition("/")[2]].append(file)

    def is_unpacked(file: Input) -> bool:
        archive = file.location.removesuffix(f"/{file.inner}")
        folder = archive.rpartition("/")[0]
        if f"{folder}/{file.inner}" in plain or f"{archive.rpartition('.')[0]}/{file.inner}" in plain:
            return True
        alike = by_name.get(file.inner.rpartition("/")[2], ())
        return any(other.location.endswith(f"/{file.inner}") and _are_equal(file, other) for other in alike)

    return [file for file in files if not (file.inner and is_unpacked(file))]


def _are_equal(file: Input, other: Input) -> bool:
    try:
        with file.content.open() as one, other.content.open() as two:
            while (chunk := one.read(_COMPARED_BYTES)) == two.read(_COMPARED_BYTES):
                if not chunk:
                    return True
    except NotUnderstoodError:
        pass
    return False
