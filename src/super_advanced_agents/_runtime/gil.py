"""Give other threads their turn in long loops of Python."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def yield_gil(items: Iterable[T], *, every: int = 64) -> Iterator[T]:
    """Go through items, letting go of the interpreter now and then.

    A thread that wants the interpreter while another computes waits for up to 5 ms, each time anew; a search needs it a
    few times. For worker threads: an event loop would be held up as before. Letting go costs up to 70 us: where an item
    takes less than one, `every` so many of them are enough.
    """
    for i, item in enumerate(items, 1):
        yield item
        if i % every == 0:
            time.sleep(0)
