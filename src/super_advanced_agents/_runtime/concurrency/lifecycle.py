"""A base class of objects that own threads, files or sockets and have to be closed."""

from __future__ import annotations

import atexit
import threading
import weakref
from abc import ABCMeta, abstractmethod
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.concurrency.processes import process_id
from super_advanced_agents.errors import ResourceClosedError


class _ClosedAtExit(ABCMeta):
    # Registers an object only once its constructor has returned: one that raised leaves nothing to close.

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        resource = super().__call__(*args, **kwargs)
        _open_resources.add(resource)
        return resource


class Resource(metaclass=_ClosedAtExit):
    """Make subclasses closable with `close()`, `aclose()`, `with` or `async with`.

    Resources still open when the interpreter exits are closed then, so a script that never closes them loses nothing.
    """

    def __init__(self) -> None:
        self._closing = threading.Lock()
        self._closed = False
        self._released = False
        self._owner_pid = process_id()

    @property
    def closed(self) -> bool:
        """True once `close()` or `aclose()` was called."""
        return self._closed

    def close(self) -> None:
        """Finish the accepted work, then release the object's threads, files and sockets.

        Closing again does nothing. In a forked child the parent's files and threads are left alone.
        """
        if self._owner_pid != process_id():  # a forked child must not touch its parent's files, nor wait for its lock
            self._closed = True
            return
        with self._closing:
            if self._closed:
                return
            self._closed = True
            try:
                self._release()
            finally:
                self._released = True
                _open_resources.discard(self)  # only now: the interpreter's exit waits for a close under way

    async def aclose(self) -> None:
        """Finish the accepted work and release all resources, without blocking the event loop.

        When cancelled, the closing still runs to its end in its own thread.
        """
        if not self._released:  # a close begun by another caller is waited for, as in `close()`
            await in_thread(self.close, name=f"close {type(self).__name__}")

    @abstractmethod
    def _release(self) -> None:
        """Release the object's threads, files and sockets; called once by `close`, may block."""

    def _check_open(self) -> None:
        if self._closed:
            raise ResourceClosedError(f"this {type(self).__name__} is closed", hint="open a new one")
        if self._owner_pid != process_id():
            raise ResourceClosedError(
                f"this {type(self).__name__} belongs to process {self._owner_pid}, which was forked",
                hint="open a new one in the child process",
            )

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


_open_resources: weakref.WeakSet[Resource] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    with ExitStack() as stack:  # one that fails does not keep the others open
        for resource in list(_open_resources):
            stack.callback(resource.close)
