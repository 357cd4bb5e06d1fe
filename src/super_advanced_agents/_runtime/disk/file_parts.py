"""Files that are read in parts, away from the event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.errors import InvalidInputError

_PART_BYTES = 1024 * 1024


@asynccontextmanager
async def reading_parts(file: Path) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    """Enter a context with a function that reads the next 1 MiB of a file.

    It returns no bytes at the end of the file.

    Raises:
        InvalidInputError: there is no such file, or it cannot be read.
    """
    try:
        with await in_thread(lambda: file.open("rb"), name="open file") as opened:
            yield lambda: in_thread(lambda: opened.read(_PART_BYTES), name="read file")
    except OSError as exc:
        raise InvalidInputError(f"the file cannot be read: {exc.strerror}", field="file") from exc
