"""A deterministic scheduler: threads run one at a time, and a seed chooses who runs next at each switch.

`Scheduler.threading` stands in for the module `threading` in the code under test. Its locks, conditions, events and
threads switch at every operation, so a seed replays one interleaving exactly. A timed wait times out only when nothing
else can run, which is what a lost wake-up looks like.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class DeadlockError(AssertionError):
    """Report that no thread can run any more."""


class _Task:
    """One thread under control."""

    def __init__(self) -> None:
        self.may_run = threading.Semaphore(0)
        self.is_ready: Callable[[], bool] = lambda: True
        self.has_timeout = False
        self.alive = True
        self.woken = True


class Scheduler:
    """Run threads one at a time, in an order that a seed decides.

    Attributes:
        timeouts: how often a timed wait ended because nothing else could run.
    """

    def __init__(self, seed: int) -> None:
        self.timeouts = 0
        self._random = random.Random(seed)
        self._main = self._current = _Task()
        self._tasks = [self._main]
        self._threads: list[threading.Thread] = []
        self._deadlocked = False
        self.threading = SimpleNamespace(
            Lock=lambda: _Lock(self),
            Condition=lambda lock: _Condition(self, lock),
            Event=lambda: _Event(self),
            Thread=lambda **options: _Thread(self, **options),
            current_thread=lambda: self._current,
        )

    def switch(self, is_ready: Callable[[], bool] = lambda: True, *, has_timeout: bool = False) -> bool:
        """Let another thread run until the caller is ready and chosen; return False when its wait timed out."""
        task = self._current
        task.is_ready, task.has_timeout = is_ready, has_timeout
        self._resume(self._choose())
        if self._current is not task:
            task.may_run.acquire()
        if self._deadlocked:
            raise DeadlockError("every thread waits for another")
        self._current = task
        return task.woken

    def end(self) -> None:
        """End all threads that still wait."""
        self._deadlocked = True
        for task in self._tasks:
            task.may_run.release()
        for thread in self._threads:
            thread.join()

    def begin(self, task: _Task, run: Callable[[], object]) -> None:
        """Start a thread, which runs when it is chosen."""

        def body() -> None:
            task.may_run.acquire()
            try:
                if not self._deadlocked:
                    self._current = task
                    run()
            except DeadlockError:
                pass
            finally:
                task.alive = False
                if not self._deadlocked:
                    self._resume(self._choose())

        self._tasks.append(task)
        self._threads.append(threading.Thread(target=body, daemon=True))
        self._threads[-1].start()
        self.switch()

    def _choose(self) -> _Task:
        ready = [task for task in self._tasks if task.alive and task.is_ready()]
        timed = [task for task in self._tasks if task.alive and task.has_timeout]
        if ready:
            chosen = self._random.choice(ready)
            chosen.woken = True
        elif timed:
            chosen = self._random.choice(timed)
            chosen.woken = False
            self.timeouts += 1
        else:
            self._deadlocked = True
            chosen = self._main
        return chosen

    def _resume(self, chosen: _Task) -> None:
        if self._deadlocked:
            for task in self._tasks:
                task.may_run.release()
        elif chosen is not self._current or not chosen.alive:
            self._current = chosen
            chosen.may_run.release()


class _Lock:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.held = False

    def __enter__(self) -> None:
        self._scheduler.switch(lambda: not self.held)
        self.held = True

    def __exit__(self, *raised: object) -> None:
        self.held = False
        self._scheduler.switch()


class _Condition:
    def __init__(self, scheduler: Scheduler, lock: _Lock) -> None:
        self._scheduler = scheduler
        self._lock = lock
        self._waiting: list[object] = []

    def wait(self, timeout: float | None = None) -> bool:
        waiter = object()
        self._waiting.append(waiter)
        self._lock.held = False
        self._scheduler.switch(
            lambda: waiter not in self._waiting and not self._lock.held, has_timeout=timeout is not None
        )
        notified = waiter not in self._waiting
        if not notified:
            self._waiting.remove(waiter)
            self._scheduler.switch(lambda: not self._lock.held)
        self._lock.held = True
        return notified

    def notify(self) -> None:
        if self._waiting:
            self._waiting.pop(0)

    def notify_all(self) -> None:
        self._waiting.clear()


class _Event:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._is_set = False

    def set(self) -> None:
        self._is_set = True
        self._scheduler.switch()

    def wait(self, timeout: float | None = None) -> bool:
        self._scheduler.switch(lambda: self._is_set, has_timeout=timeout is not None)
        return self._is_set


class _Thread(_Task):
    def __init__(self, scheduler: Scheduler, *, target: Callable[[], object], **options: Any) -> None:
        super().__init__()
        del options
        self._scheduler = scheduler
        self._target = target

    def start(self) -> None:
        self._scheduler.begin(self, self._target)

    def join(self, timeout: float | None = None) -> None:
        self._scheduler.switch(lambda: not self.alive, has_timeout=timeout is not None)
