"""A bounded queue that passes items, such as an answer's tokens, from a thread to a reader."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

from super_advanced_agents._runtime.concurrency.futures import Future

T = TypeVar("T")


class Channel(Generic[T]):
    """Pass items in order from a producer thread to one consumer, at most `capacity` buffered.

    `put` tells the producer when the consumer has left, so that it can stop.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._finished = False
        self._error: BaseException | None = None
        self._consumer_left = False
        self._receiver: Future[None] | None = None
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Add an item, blocking while the channel is full; return False if the consumer has left."""
        with self._changed:
            while len(self._items) >= self._capacity and not self._consumer_left:
                self._changed.wait()
            if self._consumer_left:
                return False
            self._items.append(item)
            receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.set_result(None)
        return True

    def finish(self, error: BaseException | None = None) -> None:
        """End the stream; `error`, if any, is raised in the consumer after the last item.

        Only the first call counts.
        """
        with self._changed:
            if self._finished:
                return
            self._finished, self._error = True, error
            receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.set_result(None)

    def leave(self) -> None:
        """Stop reading: drop the buffered items and wake a producer that is blocked in `put`."""
        with self._changed:
            self._consumer_left = True
            self._items.clear()
            self._changed.notify_all()

    async def items(self) -> AsyncGenerator[T, None]:
        """Yield the channel's items asynchronously until the producer ends the stream.

        Leaving the generator early, or cancelling it, calls `leave`.
        """
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
