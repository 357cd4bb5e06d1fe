"""Blocking versions of coroutine methods that need an asyncio event loop to themselves.

`sync_bridge.blocking` drives a coroutine that awaits one future after another. Task groups and timeouts need an event
loop; here each call gets its own, so user code that blocks in one call holds up no other.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from super_advanced_agents._runtime.concurrency.futures import set_driven_by_thread
from super_advanced_agents._runtime.concurrency.sync_bridge import as_sync_method

P = ParamSpec("P")
T = TypeVar("T")


def run_in_own_loop(operation: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a new event loop, blocking, and return its result.

    The loop runs in the calling thread, or in a new thread if the calling one already runs a loop (a notebook). An
    interruption (Ctrl-C) cancels the operation.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(operation)
    from anyio.from_thread import start_blocking_portal

    with start_blocking_portal(name="own loop") as portal:
        result: T = portal.call(lambda: operation)
        return result


def _run(operation: Coroutine[Any, Any, T]) -> T:
    # With a factory the runner leaves this thread's `asyncio.get_event_loop` unchanged.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        before = set_driven_by_thread(False)
        try:
            return runner.run(operation)
        finally:
            set_driven_by_thread(before)


def blocking_in_own_loop(native: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a blocking method from a coroutine method; each call runs in a new event loop.

    It has the name of the coroutine method without the `a`: `route` for `aroute`.
    """
    name = native.__name__

    @functools.wraps(native)
    def verb(*args: P.args, **kwargs: P.kwargs) -> T:
        operation: Coroutine[Any, Any, T] = getattr(args[0], name)(*args[1:], **kwargs)
        return run_in_own_loop(operation)

    return as_sync_method(verb, native)
