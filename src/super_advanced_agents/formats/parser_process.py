"""`ParserProcess`: parses files in a process of its own, within limits of time and memory.

A file that a caller of a server wrote can keep a parser busy for hours, make one regular expression hold the GIL of the
process, or grow to many times its size. In a process of its own it costs nobody but its own import.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from super_advanced_agents.errors import ResourceClosedError
from super_advanced_agents.formats.parts import Item, NotUnderstoodError, Part, PassedOver, Problem, UnreadableError

MEMORY_BYTES = 512 << 20
"""The memory that a parser may take beyond that of its program."""
CPU_S = 60
"""The seconds that a parser may compute without finding an entry."""

_POLL_MS, _CHUNK_BYTES = 250, 1 << 16
_SETTINGS = "SAA_"  # the prefix of the settings, of which some are secrets
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """The limits of a parser.

    Attributes:
        memory_bytes: the memory that it may take beyond that of its program.
        cpu_s: the seconds of computing after which it is ended, unless it finds an entry before.
    """

    memory_bytes: int = MEMORY_BYTES
    cpu_s: int = CPU_S


@dataclass(frozen=True, slots=True, kw_only=True)
class FileToParse:
    """A file, or a member of a zip file, and the format to parse it by.

    Attributes:
        path: the file, or the zip file.
        format_name: the name of the format.
        name: the name that the parser sees.
        inner: the path of a member in its zip file; empty for others.
        named: whether somebody named this very file.
    """

    path: Path
    format_name: str
    name: str
    inner: str = ""
    named: bool = True

    @classmethod
    def decoded(cls, line: str) -> Self:
        """Return the file that a request names."""
        members = json.loads(line)
        return cls(**{**members, "path": Path(members["path"])})

    def encoded(self) -> bytes:
        """Encode the file as a request, a line of JSON."""
        return json.dumps({**asdict(self), "path": os.fspath(self.path)}).encode() + b"\n"


class ParserProcess:
    """Parse files one after the other in a process, which is ended when the context ends.

    Blocks; for one thread.

    Args:
        ended: set by another thread to give up.
        limits: the limits of the process.
    """

    def __init__(self, ended: threading.Event, limits: ParserLimits | None = None) -> None:
        self._ended = ended
        self._limits = limits or ParserLimits()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def read(self, file: FileToParse) -> Iterator[Item]:
        """Yield the parts of a file, its problems and what is passed over, in order.

        Raises:
            NotUnderstoodError: the file is not of its format, or beyond a limit.
            ResourceClosedError: `ended` was set.
        """
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = self._start()
        assert process.stdin is not None
        complete = False
        try:
            try:
                process.stdin.write(file.encoded())
                process.stdin.flush()
            except BrokenPipeError:
                raise self._failure(process) from None
            for line in self._lines(process):
                reply = json.loads(line)
                if "end" in reply:
                    complete = True
                    return
                if "refused" in reply:
                    complete = True
                    raise _refusal(reply["refused"])
                yield _item(reply)
            raise self._failure(process)
        finally:
            if not complete:  # what it has still to say belongs to this file
                self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        # Without the server's secrets: the parser needs none.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
        return subprocess.Popen(  # noqa: S603 - this package's own module
            [
                sys.executable,
                "-m",
                "super_advanced_agents.formats.parser_main",
                str(self._limits.memory_bytes),
                str(self._limits.cpu_s),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )

    def _lines(self, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        rest: list[bytes] = []
        while True:
            ready = poll.poll(_POLL_MS)
            if self._ended.is_set():
                raise ResourceClosedError("the import was stopped")
            if not ready:
                continue
            chunk = os.read(descriptor, _CHUNK_BYTES)
            if not chunk:
                return
            first, *others = chunk.split(b"\n")
            rest.append(first)
            for other in others:
                yield b"".join(rest)
                rest = [other]

    def _failure(self, process: subprocess.Popen[bytes]) -> NotUnderstoodError:
        code = process.wait()
        if code == -signal.SIGXCPU:
            return UnreadableError(
                f"a parser computed {self._limits.cpu_s} s on it without finding an entry", hint="split it"
            )
        return UnreadableError(
            f"its parser ended (status {code}); it may need more than {self._limits.memory_bytes // _MEBIBYTE} MiB",
            hint="split it",
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # for what was not yet sent
                    pipe.close()


def _refusal(values: dict[str, Any]) -> NotUnderstoodError:
    error = UnreadableError if values["unreadable"] else NotUnderstoodError
    return error(values["message"], hint=values["hint"])


def _item(reply: dict[str, Any]) -> Item:
    if "part" in reply:
        return Part(**reply["part"])
    if "problem" in reply:
        return Problem(*reply["problem"])
    return PassedOver(reply["passed_over"])
