"""Return of freed memory to the operating system, which the allocator would keep for later."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

from super_advanced_agents._runtime.concurrency.futures import in_thread

_PAUSE_S = 5.0


class MemoryTrimmer:
    """Return freed memory to the system some seconds after large objects were freed.

    glibc keeps what threads free: after twenty pages of 6 MiB the process stayed 90 MiB larger. Does nothing with other
    allocators. For use in one event loop.

    Args:
        pause_s: seconds from a request to its execution; requests meanwhile share it.
    """

    def __init__(self, pause_s: float = _PAUSE_S) -> None:
        self._pause_s = pause_s
        self._planned = False

    def request(self) -> None:
        """Plan a return of freed memory, unless one is planned; never blocks."""
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_later(self._pause_s, self._begin)

    def _begin(self) -> None:
        self._planned = False
        in_thread(return_memory, name="return memory")


def return_memory() -> None:
    """Return freed memory to the system, which may take some milliseconds."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return trim
