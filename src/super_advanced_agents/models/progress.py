"""How far a pull has come, and the one line that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from super_advanced_agents._runtime.progress import bar


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """How far a pull has come.

    Attributes:
        model: the model's name.
        step: what is being done: the name of what is downloaded, or `"check"`, `"graph int8"`, `"graph fp32"`.
        done_bytes: of this step; 0 for steps that are not counted in bytes.
        total_bytes: of this step; 0 for steps that are not counted in bytes.
    """

    model: str
    step: str
    done_bytes: int = 0
    total_bytes: int = 0


OnProgress: TypeAlias = Callable[[PullProgress], None]


@contextmanager
def progress_line() -> Iterator[OnProgress | None]:
    """Show a pull as one line on standard error, which goes again; nothing where nobody watches."""
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
