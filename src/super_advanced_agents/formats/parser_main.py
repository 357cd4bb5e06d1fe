"""The program of `ParserProcess`, which parses the files that its requests name.

Requests and replies are lines of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

from super_advanced_agents.formats.archives import member_contents, open_archive
from super_advanced_agents.formats.content import Content, file_content
from super_advanced_agents.formats.parser_process import FileToParse
from super_advanced_agents.formats.parts import Item, NotUnderstoodError, Part, Problem, UnreadableError
from super_advanced_agents.formats.registry import format_named

_ITEM_BYTES = 1 << 20
_MEBIBYTE = 1 << 20


class _Files:
    # Keeps what was opened: the members of one archive share it, and parsers remember what they found beside a file.

    def __init__(self) -> None:
        self._known: dict[Path, Content] = {}
        self._archive: tuple[Path, dict[str, Content]] | None = None

    def content(self, file: FileToParse) -> Content:
        if not file.inner:
            return file_content(file.path, file.name, named=file.named, known=self._known)
        if self._archive is None or self._archive[0] != file.path:
            members = member_contents(open_archive(file.path.open("rb")), "")  # open until the process ends
            self._archive = (file.path, {member.name.removeprefix("/"): member for member in members})
        content = self._archive[1][file.inner]
        content.name = file.name
        return content


class _Time:
    # The kernel ends the process when its limit is reached, whatever it computes then.

    def __init__(self, cpu_s: int) -> None:
        self._cpu_s = cpu_s
        self._renewed_at = float("-inf")

    def renew(self) -> None:
        used = time.process_time()
        if used - self._renewed_at >= 1.0:
            self._renewed_at = used
            resource.setrlimit(resource.RLIMIT_CPU, (int(used) + self._cpu_s + 1, resource.RLIM_INFINITY))


def main(requests: IO[str], replies: IO[str], *, memory_bytes: int, cpu_s: int) -> None:
    """Parse one file after the other until there are no more requests.

    Args:
        requests: a line of JSON for each file.
        replies: a line of JSON for each item; the last one of a file says `end` or `refused`.
        memory_bytes: the limit on the process's data.
        cpu_s: the seconds of computing without an item after which the process is ended.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):  # where the system has no such limit
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    files, limit = _Files(), _Time(cpu_s)
    for line in requests:
        limit.renew()
        for reply in _replies(files, FileToParse.decoded(line), memory_bytes):
            replies.write(reply)
            replies.write("\n")
            limit.renew()
        replies.flush()


def _replies(files: _Files, file: FileToParse, memory_bytes: int) -> Iterator[str]:
    try:
        for item in format_named(file.format_name).read(files.content(file)):
            yield _encoded(item)
    except NotUnderstoodError as exc:
        yield _refused(exc)
    except MemoryError:
        yield _refused(
            UnreadableError(f"its parser needs more than {memory_bytes // _MEBIBYTE} MiB of memory", hint="split it")
        )
    except Exception as exc:  # parsers of other libraries let errors of every kind through
        yield _refused(UnreadableError(f"it is damaged ({type(exc).__name__})"))
    else:
        yield '{"end": true}'


def _encoded(item: Item) -> str:
    if isinstance(item, Part):
        encoded = json.dumps({"part": asdict(item)})
        if len(encoded) <= _ITEM_BYTES:
            return encoded
        item = Problem(item.line, f"the entry is longer than {_ITEM_BYTES // _MEBIBYTE} MiB")
    return json.dumps({"problem": [item.line, item.why]} if isinstance(item, Problem) else {"passed_over": item.what})


def _refused(error: NotUnderstoodError) -> str:
    return json.dumps(
        {
            "refused": {
                "message": error.message,
                "hint": error.hint,
                "unreadable": isinstance(error, UnreadableError),
            }
        }
    )


if __name__ == "__main__":
    main(sys.stdin, sys.stdout, memory_bytes=int(sys.argv[1]), cpu_s=int(sys.argv[2]))
