"""A bounded stream from one producer thread to one consumer, for tokens as they are made."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

from super_advanced_agents._runtime.futures import Future

T = TypeVar("T")


class Channel(Generic[T]):
    """Items in order, at most `capacity` of them waiting; the producer learns when the consumer has left."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._finished = False
        self._error: BaseException | None = None
        self._left = False
        self._receiver: Future[None] | None = None
        self._changed = threading.Condition()

    @property
    def left(self) -> bool:
        """Whether the consumer has gone; the producer should stop."""
        return self._left

    def put(self, item: T) -> bool:
        """Hand over one item, waiting while the channel is full; False once the consumer has left."""
        with self._changed:
            while len(self._items) >= self._capacity and not self._left:
                self._changed.wait()
            if self._left:
                return False
            self._items.append(item)
            receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.set_result(None)
        return True

    def finish(self, error: BaseException | None = None) -> None:
        """No more items; `error` is raised at the consumer after the last one. The first call counts."""
        with self._changed:
            if self._finished:
                return
            self._finished, self._error = True, error
            receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.set_result(None)

    def leave(self) -> None:
        """The consumer goes; a producer waiting for room is let go."""
        with self._changed:
            self._left = True
            self._items.clear()
            self._changed.notify_all()

    async def items(self) -> AsyncGenerator[T, None]:
        """What arrives, until the producer finishes; leaving the generator leaves the channel."""
        try:
            while True:
                arrival: Future[None] | None = None
                received: list[T] = []
                with self._changed:
                    if self._items:
                        received.append(self._items.popleft())
                        self._changed.notify()
                    elif not self._finished:
                        self._receiver = arrival = Future()
                    elif self._error is not None:
                        raise self._error
                    else:
                        return
                if arrival is not None:
                    await arrival
                for item in received:
                    yield item
        finally:
            self.leave()
