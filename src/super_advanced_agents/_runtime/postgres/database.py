"""`Database`: reads and transactions in PostgreSQL, for event loops and threads alike.

Statements run in the process's background event loop (`loop_thread`); callers await the futures of their results.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

import psycopg

from super_advanced_agents._runtime.concurrency import loop_thread
from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents._runtime.concurrency.processes import process_id
from super_advanced_agents._runtime.postgres.address import PostgresAddress
from super_advanced_agents._runtime.postgres.errors import RETRIED, is_disconnect, map_error
from super_advanced_agents._runtime.postgres.pool import Connection, ConnectionPool
from super_advanced_agents.errors import DeadlineExceededError, EngineUnavailableError, ResourceClosedError

T = TypeVar("T")

_ATTEMPTS = 3
"""The most attempts at a transaction that other writers or a lost connection disturb."""
_CLOSE_S = 10.0
"""Seconds that closing waits for statements that still run."""


class Database:
    """Run reads and transactions in one PostgreSQL database, over a pool that objects share.

    All objects of one process with the same URL, except for its schema, share one pool; it opens with the first
    statement. Work is an asynchronous function of a connection. It may await only what the connection gives, runs in
    another thread's event loop, and may run several times, so it must not change what its caller sees.

    Args:
        address: the database; `address.schema` is that of `sql`.
        connections: the most connections of the process; the first object with this URL decides.
        max_waiting: the most calls that wait for a connection; further ones raise `OverloadedError`.
        wait_s: the most seconds that a call waits for a connection.
        statement_s: the most seconds of one piece of work, after which it is cancelled on the server.

    Attributes:
        address: the database.
        id: a random name of this object.
    """

    def __init__(
        self,
        address: PostgresAddress,
        *,
        connections: int = 8,
        max_waiting: int = 1_024,
        wait_s: float = 10.0,
        statement_s: float = 60.0,
    ) -> None:
        self.address, self.id = address, uuid4().hex
        self._background: dict[str, asyncio.Task[None]] = {}
        self._background_ended = False
        self._statement_s = statement_s
        self._make_pool = lambda: ConnectionPool(address, size=connections, max_waiting=max_waiting, wait_s=wait_s)
        self._opening = threading.Lock()
        self._shared: _SharedPool | None = None
        self._closed = False

    def sql(self, statement: str) -> str:
        """Return a statement with the quoted name of the schema in place of each `{schema}`."""
        return statement.replace("{schema}", f'"{self.address.schema}"')

    async def read(self, work: Callable[[Connection], Awaitable[T]], *, seconds: float | None = None) -> T:
        """Return the result of work whose statements each stand alone.

        It is repeated once when its connection turns out to be lost. Cancelling stops it on the server.

        Args:
            work: the work.
            seconds: the most seconds of it, in place of `statement_s`.

        Raises:
            EngineUnavailableError: the database cannot be reached; `map_error` has the other errors.
        """

        async def run(pool: ConnectionPool) -> T:
            for attempt in range(_ATTEMPTS):
                connection = await pool.acquire()
                try:
                    return await work(connection)
                except Exception as exc:
                    if not is_disconnect(exc) or attempt == 1:
                        raise
                finally:
                    await pool.release(connection)
            raise AssertionError

        return await self._submit(run, seconds)

    async def write(
        self,
        work: Callable[[Connection], Awaitable[T]],
        *,
        seconds: float | None = None,
        committed: Callable[[T], None] | None = None,
    ) -> T:
        """Return the result of work that is one transaction, committed when this returns.

        It is repeated when the server asks for that (a deadlock), or when the connection was lost before the commit.
        Cancelling takes it back only while it waits for a connection; after that it is carried out to its end.

        Args:
            work: the work.
            seconds: the most seconds of it, in place of `statement_s`.
            committed: called once with the result, in the database's event loop, also if the caller has left by then.

        Raises:
            EngineUnavailableError: the database cannot be reached. Where the connection was lost during the commit,
                nobody knows whether the work was done.
        """

        async def transaction(connection: Connection) -> T:
            committing = False
            try:
                async with connection.transaction():
                    result = await work(connection)
                    committing = True
                if committed is not None:
                    committed(result)
                return result
            except Exception as exc:
                if committing and is_disconnect(exc):
                    raise EngineUnavailableError(
                        f"the connection to {self.address.shown} was lost during a commit",
                        hint="repeat the write with its write_id, or read whether it was stored",
                    ) from exc
                raise

        limit = self._statement_s if seconds is None else seconds

        async def run(pool: ConnectionPool) -> T:
            for attempt in range(_ATTEMPTS):
                connection = await pool.acquire()
                task = asyncio.ensure_future(self._finish(pool, connection, transaction, limit))
                task.add_done_callback(_retrieve_error)
                try:
                    return await asyncio.shield(task)
                except psycopg.Error as exc:
                    again = is_disconnect(exc) or exc.sqlstate in RETRIED
                    if not again or attempt == _ATTEMPTS - 1:
                        raise
            raise AssertionError

        return await self._submit(run, seconds)

    async def _finish(
        self, pool: ConnectionPool, connection: Connection, work: Callable[[Connection], Awaitable[T]], limit: float
    ) -> T:
        assert self._shared is not None
        task = asyncio.current_task()
        assert task is not None
        self._shared.running.add(task)
        try:
            async with asyncio.timeout(limit):
                return await work(connection)
        finally:
            self._shared.running.discard(task)
            await pool.release(connection)

    async def start_background(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run work in the event loop until the database is closed, which cancels it.

        Work of a name is not started again while it runs.
        """
        shared = await self._opened()

        async def begin() -> None:
            running = self._background.get(name)
            if not self._background_ended and (running is None or running.done()):
                self._background[name] = asyncio.get_running_loop().create_task(work(), name=name)

        await shared.loop.submit(begin)

    async def _end_background(self) -> None:
        self._background_ended = True
        tasks = list(self._background.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_S)

    async def _opened(self) -> _SharedPool:
        return self._shared if self._shared is not None else await in_thread(self._open, name="open database")

    async def _submit(self, run: Callable[[ConnectionPool], Awaitable[T]], seconds: float | None) -> T:
        shared = await self._opened()
        limit = self._statement_s if seconds is None else seconds

        async def within() -> T:
            try:
                async with asyncio.timeout(limit):
                    return await run(shared.pool)
            except TimeoutError:
                raise DeadlineExceededError(
                    f"the PostgreSQL database {self.address.shown} took more than {limit:g} s",
                    hint="narrow the filter or the namespace, or ask for fewer records",
                ) from None
            except (psycopg.Error, OSError) as exc:
                raise map_error(exc, self.address.shown) from exc.with_traceback(None)

        return await shared.loop.submit(within)

    def _open(self) -> _SharedPool:
        with self._opening:
            if self._closed:
                raise ResourceClosedError("the database is closed", hint="open the store again")
            if self._shared is None:
                self._shared = _acquire_pool((process_id(), self.address.conninfo), self._make_pool)
            return self._shared

    def stop(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run work of the event loop that ends the caller's own tasks there. Blocks until it is done."""
        with self._opening:
            shared = self._shared
        if shared is not None:
            with suppress(TimeoutError):  # closing goes on, and ends the tasks with the loop
                shared.loop.submit(work).wait(_CLOSE_S)

    def close(self) -> None:
        """Wait for the transactions under way, and close the connections that no other object uses. Blocks."""
        self.stop(self._end_background)
        with self._opening:
            self._closed = True
            shared, self._shared = self._shared, None
        if shared is not None:
            _release_pool((process_id(), self.address.conninfo))


def _retrieve_error(task: asyncio.Task[Any]) -> None:
    # asyncio logs an error that nobody asked for, as of a write whose caller has left.
    if not task.cancelled():
        task.exception()


@dataclass(slots=True, eq=False)
class _SharedPool:
    pool: ConnectionPool
    loop: loop_thread.LoopThread
    users: int = 0
    running: set[asyncio.Task[Any]] = field(default_factory=set)


_pools: dict[tuple[int, str], _SharedPool] = {}
_pools_lock = threading.Lock()


def _renew_lock() -> None:
    global _pools_lock
    _pools_lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def _acquire_pool(key: tuple[int, str], make: Callable[[], ConnectionPool]) -> _SharedPool:
    with _pools_lock:
        shared = _pools.get(key)
        if shared is None:
            loop = loop_thread.acquire_loop()
            shared = _pools[key] = _SharedPool(make(), loop)
        shared.users += 1
        return shared


def _release_pool(key: tuple[int, str]) -> None:
    with _pools_lock:
        shared = _pools[key]
        shared.users -= 1
        if shared.users:
            return
        del _pools[key]
    try:
        shared.loop.submit(lambda: _close(shared)).wait(_CLOSE_S + 5)
    finally:
        loop_thread.release_loop()


async def _close(shared: _SharedPool) -> None:
    if shared.running:
        await asyncio.wait(shared.running, timeout=_CLOSE_S)
    await shared.pool.close()
