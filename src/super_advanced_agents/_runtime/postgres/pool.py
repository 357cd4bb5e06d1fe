"""A pool of connections that lives in one event loop, without locks.

`psycopg_pool` connects in tasks of its own and lets callers wait while they fail; here a caller that needs a connection
makes it, so that it gets the reason within the time of one attempt.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg.rows import TupleRow

from super_advanced_agents._runtime.postgres.address import PostgresAddress
from super_advanced_agents._runtime.postgres.errors import map_error
from super_advanced_agents.errors import OverloadedError, ResourceClosedError, SuperAdvancedAgentsError

Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]

_FAIL_FAST_S = 0.25
"""Seconds after a failed attempt to connect in which callers get its error at once."""

_PREPARED_AFTER = 3
"""The executions of a statement after which it is prepared on the server."""

_DEFAULTS: dict[str, str] = {
    "application_name": "super_advanced_agents",
    "connect_timeout": "5",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
"""Parameters of libpq that a URL may override. A connection whose other end is silent is given up after 20 s."""


class ConnectionPool:
    """Lend connections, at most `size` at a time; further callers wait in order, up to a bound.

    All methods run in one event loop. Connections commit each statement by itself. One that reaches the server itself
    prepares statements that it repeats; behind pgbouncer, which may give each transaction another one, none does.

    Args:
        address: the database.
        size: the most connections.
        max_waiting: the most callers that wait for one.
        wait_s: the most seconds that a caller waits.
    """

    def __init__(self, address: PostgresAddress, *, size: int, max_waiting: int, wait_s: float) -> None:
        self._address = address
        self._size, self._max_waiting, self._wait_s = size, max_waiting, wait_s
        self._parameters = {**_DEFAULTS, **conninfo_to_dict(address.conninfo)}
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._connecting = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._failed: tuple[float, SuperAdvancedAgentsError] | None = None
        self._closed = False

    async def acquire(self) -> Connection:
        """Return a connection that works; the caller gives it back with `release`.

        Raises:
            OverloadedError: too many callers wait, or none was free within `wait_s`.
            EngineUnavailableError: the database cannot be reached.
            ConfigurationError: the database refused the login.
            ResourceClosedError: the pool is closed.
        """
        if self._waiting or not self._has_room():
            await self._wait()
        if self._closed:
            raise _closed_error()
        while self._idle:
            connection = self._idle.pop()  # the one used last, so that others stay idle and are closed
            if _is_alive(connection):
                self._lent.add(connection)
                return connection
            await connection.close()
        return await self._connect()

    async def release(self, connection: Connection) -> None:
        """Take a connection back; one that broke, or that is inside a transaction, is closed."""
        self._lent.discard(connection)
        if self._closed or connection.closed or connection.info.transaction_status != TransactionStatus.IDLE:
            await connection.close()
        else:
            self._idle.append(connection)
        self._wake()

    async def close(self) -> None:
        """Refuse new callers and close idle connections; those in use close when they come back."""
        self._closed = True
        while self._waiting:
            self._wake()
        while self._idle:
            await self._idle.pop().close()

    def _has_room(self) -> bool:
        return len(self._lent) + self._connecting < self._size

    async def _wait(self) -> None:
        if len(self._waiting) >= self._max_waiting:
            raise self._overloaded()
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._wait_s):
                while True:
                    await waiter
                    if self._closed or self._has_room():
                        return
                    # Another caller took the connection first: this one waits again, before all others.
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiting.appendleft(waiter)
        except TimeoutError:
            raise self._overloaded() from None
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif waiter.done():  # woken, but cancelled or timed out: wakes the next caller
                self._wake()

    def _wake(self) -> None:
        while self._waiting and (self._closed or self._has_room()):
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _connect(self) -> Connection:
        if self._failed is not None and time.monotonic() < self._failed[0]:
            raise _copy(self._failed[1])
        self._connecting += 1
        try:
            connection = await psycopg.AsyncConnection.connect(
                **self._parameters,  # type: ignore[arg-type]
                autocommit=True,
                prepare_threshold=None,
            )
            await _prepare_if_direct(connection)
        except (psycopg.Error, OSError) as exc:
            error = map_error(exc, self._address.shown)
            self._failed = time.monotonic() + _FAIL_FAST_S, error
            raise _copy(error) from _without_secrets(exc)
        finally:
            self._connecting -= 1
            self._wake()
        self._failed = None
        self._lent.add(connection)
        return connection

    def _overloaded(self) -> OverloadedError:
        return OverloadedError(
            f"all {self._size} connections to {self._address.shown} are in use",
            retry_after_s=1.0,
            hint="try again, or allow more connections",
        )


async def _prepare_if_direct(connection: Connection) -> None:
    # A pooler gives its clients process numbers of its own, for cancelling.
    try:
        row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
    except BaseException:
        await connection.close()
        raise
    if row is not None and row[0] == connection.info.backend_pid:
        connection.prepare_threshold = _PREPARED_AFTER


def _is_alive(connection: Connection) -> bool:
    # Two system calls in place of a round trip. A server that ends a connection sends the reason and then closes it, so
    # that only the second call sees the end.
    if connection.closed:
        return False
    try:
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.Error:
        return False
    return connection.pgconn.status == ConnStatus.OK


def _copy(error: SuperAdvancedAgentsError) -> SuperAdvancedAgentsError:
    # Raising writes into an exception's traceback, so callers must not share one.
    rebuild, arguments = error.__reduce__()
    copied: SuperAdvancedAgentsError = rebuild(*arguments)
    return copied


def _without_secrets(error: BaseException) -> BaseException:
    # libpq names hosts and users in its message, never the password; a traceback would keep the parameters alive.
    return error.with_traceback(None)


def _closed_error() -> ResourceClosedError:
    return ResourceClosedError("the connections to the database are closed", hint="open the store again")
