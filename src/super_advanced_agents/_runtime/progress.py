"""A progress bar for long work on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def bar(*, unit: str) -> Iterator[Progress | None]:
    """Enter a context that shows a progress bar on stderr, or yields None without a terminal.

    The body of the `with` block adds its tasks to the `rich.progress.Progress` that the context yields.

    Args:
        unit: `"bytes"`, which also shows the time remaining, or the name of the things counted.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()]
    if unit != "bytes":
        columns[2:] = [TextColumn("{task.completed:.0f} " + unit)]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress
