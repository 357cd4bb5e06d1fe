"""Release of the GIL to other threads during long Python loops."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from super_advanced_agents._runtime.concurrency.budget import check_budget

T = TypeVar("T")


def yield_gil(items: Iterable[T], *, every: int = 64) -> Iterator[T]:
    """Yield the given items, and release the GIL to other threads once per `every` items.

    The thread's time budget, if it has one, is checked at the same times.

    A thread that needs the interpreter while another computes waits up to 5 ms each time, and a search needs it a few
    times. For worker threads only: it does not unblock an event loop.

    Args:
        items: the items to go through.
        every: the number of items between two pauses for other threads. A pause costs up to 70 us, so items that take
            less than 1 us each need it only now and then.

    Raises:
        DeadlineExceededError: the budget of this thread's work is spent.
    """
    for i, item in enumerate(items, 1):
        yield item
        if i % every == 0:
            time.sleep(0)
            check_budget()
