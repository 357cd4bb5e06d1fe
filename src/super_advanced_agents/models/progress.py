"""Progress of a model download, and its display as one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from super_advanced_agents._runtime.progress import bar


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """The progress of a model's download: the current step, and its bytes.

    Attributes:
        model: the model's name.
        step: the current step: the name of the file or wheel being downloaded, or `"check"`, `"graph int8"`,
            `"graph fp32"`.
        done_bytes: bytes of this step that are done; 0 for steps that are not counted in bytes.
        total_bytes: bytes of this step in all; 0 for steps that are not counted in bytes.
    """

    model: str
    step: str
    done_bytes: int = 0
    total_bytes: int = 0


OnProgress: TypeAlias = Callable[[PullProgress], None]
"""A callback that receives the progress of a model's download."""


@contextmanager
def progress_line() -> Iterator[OnProgress | None]:
    """Enter a context that shows a download's progress as one line on standard error.

    The line is erased at the end.

    Yields:
        The callback to report to; None when standard error is not a terminal.
    """
    with bar(unit="bytes") as progress:
        if progress is None:
            yield None
            return
        task = progress.add_task("", total=None)

        def report(now: PullProgress) -> None:
            progress.update(
                task, description=f"{now.model}: {now.step}", completed=now.done_bytes, total=now.total_bytes or None
            )

        yield report
