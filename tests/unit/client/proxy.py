"""A TCP proxy that loses answers and cuts connections on request."""

from __future__ import annotations

import asyncio
import contextlib
import threading


class Proxy:
    """Forward connections between a client and a server, in a thread of its own.

    Attributes:
        port: the port where it listens.
        connections: the number of connections that clients have made.
    """

    def __init__(self, target: str) -> None:
        scheme, _, address = target.partition("://")
        host, _, port = address.rpartition(":")
        self._scheme = scheme
        self._target = (host, int(port))
        self.port = 0
        self.connections = 0
        self._swallowing = False
        self._refusing = 0
        self._after: int | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._started = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="proxy")

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def url(self) -> str:
        """Return the address for clients."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def swallow(self) -> None:
        """Drop everything that the server sends from now on."""
        self._swallowing = True

    def refuse(self, times: int) -> None:
        """Close the next `times` connections as soon as they are made."""
        self._refusing = times

    def cut_after(self, answered: int) -> None:
        """Cut a connection once, after `answered` more bytes have come from the server."""
        self._after = answered

    def cut(self) -> None:
        """Close all connections; later ones work again."""
        assert self._loop is not None
        done = threading.Event()

        def act() -> None:
            self._swallowing = False
            for writer in self._open:
                writer.transport.abort()
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._connected, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._started.set()
            await self._stop.wait()
            for writer in self._open:
                writer.transport.abort()
            await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._refusing:
            self._refusing -= 1
            writer.transport.abort()
            return
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError):
                theirs, ours = await asyncio.open_connection(*self._target)
                self._open.add(ours)
                try:
                    await asyncio.gather(self._pump(reader, ours, False), self._pump(theirs, writer, True))
                finally:
                    self._open.discard(ours)
                    ours.transport.abort()
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, answers: bool) -> None:
        while data := await source.read(65_536):
            if answers and self._swallowing:
                continue
            if answers and self._after is not None:
                self._after -= len(data)
                if self._after <= 0:
                    self._after = None
                    break
            sink.write(data)
            await sink.drain()
        sink.transport.abort()
