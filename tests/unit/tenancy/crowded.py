"""A program that uses a collection with 0, 1, 2, ... file descriptors left, and tells how each call ended.

    python -m tests.unit.tenancy.crowded FOLDER

FOLDER is the data folder of a process that has ended, with a collection `notes`. For each number of descriptors the
collection is opened anew. A line of JSON has the ends of a search, a keyword search and a write in this state, their
ends once descriptors are free again, and whether descriptors or threads are left when all is closed.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from super_advanced_agents import VectorStore
from super_advanced_agents.tenancy.runtime import Runtime
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.tenancy.workspace import Workspace

_ONE = np.array([1.0, 0.0, 0.0], np.float32)
_SPARE = 18
_DESCRIPTORS = Path("/dev/fd")


@contextmanager
def _few_descriptors(count: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(each.name) for each in _DESCRIPTORS.iterdir()) + 32, limits[1]))
    taken = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def _ends(notes: VectorStore) -> list[str]:
    ends = []
    for call in (notes.asearch(_ONE), notes.asearch_keywords("word"), notes.aadd(_ONE, {"text": "word"}, "new")):
        try:
            await call
        except Exception as exc:
            ends.append(type(exc).__name__)
        else:
            ends.append("done")
    return ends


async def _use(folder: str, spare: int) -> tuple[list[str], list[str]]:
    async with Runtime(Settings.load(data_dir=folder)) as runtime:
        await runtime.aopen()
        notes = await Workspace(runtime, "default").acollection("notes")
        with _few_descriptors(spare):
            meanwhile = await _ends(notes)
        return meanwhile, await _ends(notes)


def _open_now() -> tuple[int, list[str]]:
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(1.0)  # those that are just ending
    return len(list(_DESCRIPTORS.iterdir())), [thread.name for thread in threading.enumerate()]


def main(folder: str) -> None:
    """Print a line for each number of free descriptors."""
    asyncio.run(_use(folder, _SPARE))  # imports what is imported at first use
    before = _open_now()
    for spare in range(_SPARE):
        meanwhile, afterwards = asyncio.run(_use(folder, spare))
        line = {"meanwhile": meanwhile, "afterwards": afterwards, "left": _open_now() != before}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
