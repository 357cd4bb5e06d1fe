"""HTTP/2 frames by hand, for gRPC clients that read and send as no library would."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from contextlib import asynccontextmanager

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
_INITIAL_WINDOW = 4
_ACK = END_STREAM = 1
_END_HEADERS = 4


def framed(message):
    """Return a message with the length that gRPC writes before it."""
    return b"\0" + struct.pack(">I", len(message)) + message


def _frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _text(value):
    encoded = value.encode()
    if len(encoded) < 127:
        return bytes([len(encoded)]) + encoded
    rest, out = len(encoded) - 127, bytearray([127])
    while rest >= 128:
        out.append(rest % 128 | 128)
        rest //= 128
    return bytes(out) + bytes([rest]) + encoded


class RawConnection:
    """One HTTP/2 connection, whose windows the test rules.

    Attributes:
        frames: the frames received so far, for each pair of kind and stream.
        received: the bytes of data received so far.
        ended: set once the server has closed the connection.
    """

    def __init__(self, reader, writer):
        self.frames = Counter()
        self.received = 0
        self.ended = asyncio.Event()
        self._reader, self._writer = reader, writer
        self._next = 1
        self._initial = 65_535
        self._windows = {0: 65_535}
        self._changed = asyncio.Condition()

    @property
    def address(self):
        """The client's own address and port."""
        return self._writer.get_extra_info("sockname")

    def open(self, path, *metadata):
        """Begin a call, and return the number of its stream."""
        stream, self._next = self._next, self._next + 2
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *metadata,
        ]
        block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)
        self._windows[stream] = self._initial
        self._writer.write(_frame(HEADERS, _END_HEADERS, stream, block))
        return stream

    async def send(self, stream, data, *, end=False):
        """Send bytes on a stream as soon as the server's windows let them through."""
        sent = 0
        while sent < len(data):
            async with self._changed:
                await self._changed.wait_for(lambda: min(self._windows[0], self._windows[stream]) > 0)
            size = min(16_384, self._windows[0], self._windows[stream], len(data) - sent)
            self._windows[0] -= size
            self._windows[stream] -= size
            last = end and sent + size == len(data)
            self._writer.write(_frame(DATA, END_STREAM if last else 0, stream, data[sent : sent + size]))
            sent += size
            await self._writer.drain()

    def reset(self, stream):
        """End a call from the client's side."""
        self._writer.write(_frame(RESET, 0, stream, b"\0\0\0\x08"))

    async def until(self, condition):
        """Wait until a condition on what was received is met."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(condition)

    async def _read(self):
        try:
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                await self._take(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
        except (OSError, asyncio.IncompleteReadError):
            self.ended.set()

    async def _take(self, kind, flags, stream, payload):
        async with self._changed:
            self.frames[kind, stream] += 1
            if kind == DATA:
                self.received += len(payload)
            elif kind == WINDOW:
                self._windows[stream] = self._windows.get(stream, self._initial) + int.from_bytes(payload, "big")
            elif kind == SETTINGS and not flags & _ACK:
                self._apply(payload)
                self._writer.write(_frame(SETTINGS, _ACK, 0))
            elif kind == PING and not flags & _ACK:
                self._writer.write(_frame(PING, _ACK, 0, payload))
            self._changed.notify_all()

    def _apply(self, settings):
        for start in range(0, len(settings), 6):
            name, value = struct.unpack(">HI", settings[start : start + 6])
            if name == _INITIAL_WINDOW:
                for stream in self._windows.keys() - {0}:
                    self._windows[stream] += value - self._initial
                self._initial = value

    @classmethod
    @asynccontextmanager
    async def opened(cls, address, *, window=65_535):
        """Connect to a server; the window is what it may send unread on one stream, and on the connection."""
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        connection = cls(reader, writer)
        writer.write(PREFACE + _frame(SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW, window)))
        if window > 65_535:
            writer.write(_frame(WINDOW, 0, 0, struct.pack(">I", window - 65_535)))
        reading = asyncio.create_task(connection._read())
        try:
            yield connection
        finally:
            reading.cancel()
            writer.close()
