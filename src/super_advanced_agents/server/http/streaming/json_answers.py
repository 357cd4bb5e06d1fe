"""JSON answers; long ones are encoded and sent in pieces, no faster than the client reads.

Pieces of answers with many items are made off the event loop, each once the connection has room for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from super_advanced_agents._runtime.concurrency.slices import finished, one_slice
from super_advanced_agents.server.http.streaming.disconnect import while_connected
from super_advanced_agents.stores.records.answer_sizes import ITEM_BYTES, text_bytes
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import Match, Record

PIECE_BYTES = 64 * 1024
"""The size of a piece; a shorter answer is sent whole."""
_FEW = 16
"""Answers of fewer items are encoded at once."""
_FEW_FOR_THE_LOOP = 64
"""Pieces of answers with more items are made off the event loop: 40 at once would stop it."""

_log = get_logger("server")

Hold: TypeAlias = Callable[[int], AbstractContextManager[None]]
"""A function that enters a context in which an answer of this many bytes is being sent."""

OffLoop: TypeAlias = Callable[[Generator[None, None, bytes]], Awaitable[bytes]]
"""A function that runs a computation off the event loop and returns its result."""


@dataclass(frozen=True, slots=True)
class Items:
    """Hold the items of a list in an answer, and the function that makes one JSON values.

    They are converted when they are sent, one after the other. Lists among them are lists of such items.
    """

    values: Sequence[Any]
    convert: Callable[[Any], Any]

    def parts(self) -> Iterator[bytes]:
        """Yield the JSON of the list in parts."""
        yield b"["
        for i, value in enumerate(self.values):
            if i:
                yield b","
            if isinstance(value, list):
                yield from Items(value, self.convert).parts()
            else:
                yield _dumps(self.convert(value))
        yield b"]"

    def whole(self) -> list[Any]:
        """Return the list, all of its items converted."""
        return [
            Items(value, self.convert).whole() if isinstance(value, list) else self.convert(value)
            for value in self.values
        ]

    def count(self) -> int:
        """Return the number of all items, those of nested lists included."""
        return sum(Items(value, self.convert).count() if isinstance(value, list) else 1 for value in self.values)

    def size(self) -> int:
        """Return the bytes that the items keep in memory until they are sent, by estimate."""
        return sum(map(_size_of, self.values))


async def json_answer(content: Any, status: int, hold: Hold, off_loop: OffLoop) -> Response:
    """Encode an answer as JSON: at once if it is short, else piece by piece while it is sent.

    Args:
        content: values that `orjson` can serialize, `Items`, or an object whose members are such.
        status: the HTTP status.
        hold: called for a long answer with its bytes; its context lasts while the answer is sent.
        off_loop: makes the pieces of an answer with many items.
    """
    members = content.values() if isinstance(content, dict) else (content,)
    items = [member for member in members if isinstance(member, Items)]
    count = sum(member.count() for member in items)
    if count < _FEW:
        return encoded_answer(_dumps(_whole(content)), status, hold)
    pieces = _pieces(_parts(content))
    make = off_loop if count > _FEW_FOR_THE_LOOP else _on_loop
    first = await make(_next(pieces))
    if len(first) < PIECE_BYTES:
        return Response(first, status_code=status, media_type="application/json")
    size_bytes = sum(member.size() for member in items)
    return PiecewiseResponse(_made(first, pieces, make), status, hold, size_bytes)


def encoded_answer(text: bytes, status: int, hold: Hold) -> Response:
    """Answer with encoded JSON: at once if it is short, else piece by piece.

    Args:
        text: the JSON.
        status: the HTTP status.
        hold: called for a long answer with its bytes; its context lasts while the answer is sent.
    """
    if len(text) <= PIECE_BYTES:
        return Response(text, status_code=status, media_type="application/json")
    view = memoryview(text)
    slices = (bytes(view[start : start + PIECE_BYTES]) for start in range(0, len(text), PIECE_BYTES))
    return PiecewiseResponse(made_pieces(slices), status, hold, len(text))


async def made_pieces(pieces: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield pieces of an answer that cost the event loop little."""
    for piece in pieces:
        yield piece


class PiecewiseResponse(Response):
    """A JSON response that is encoded piece by piece while its client reads it.

    Args:
        pieces: yields the encoded pieces; it is closed when the answer ends.
        status: the HTTP status.
        hold: called with the size; its context is entered before the first byte, and an error that it raises is
            answered in place of the response.
        size_bytes: the bytes that the answer keeps in memory until it is sent.

    Attributes:
        size_bytes: the bytes that the answer keeps in memory until it is sent.
    """

    media_type = "application/json"

    def __init__(self, pieces: AsyncGenerator[bytes, None], status: int, hold: Hold, size_bytes: int) -> None:
        super().__init__(status_code=status)
        del self.headers["content-length"]
        self._pieces = pieces
        self._hold = hold
        self.size_bytes = size_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        try:
            async with aclosing(self._pieces):  # frees what was not sent
                with self._hold(self.size_bytes):
                    await while_connected(receive, self._send_all(send))
        except ClientDisconnect:
            _log.debug("server.answer_left")

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)  # a client that reads fast must not keep the loop to itself
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _whole(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: member.whole() if isinstance(member, Items) else member for name, member in content.items()}
    return content.whole() if isinstance(content, Items) else content


def _parts(content: Any) -> Iterator[bytes]:
    if isinstance(content, Items):
        yield from content.parts()
    elif isinstance(content, dict):
        for i, (name, member) in enumerate(content.items()):
            yield b"%s%s:" % (b"," if i else b"{", _dumps(name))
            yield from _parts(member) if isinstance(member, Items) else (_dumps(member),)
        yield b"}" if content else b"{}"
    else:
        yield _dumps(content)


def _pieces(parts: Iterator[bytes]) -> Iterator[bytes]:
    piece: list[bytes] = []
    size = 0
    for part in parts:
        piece.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    yield b"".join(piece)


def _next(pieces: Iterator[bytes]) -> Generator[None, None, bytes]:
    return one_slice(lambda: next(pieces, b""))  # the last piece may be empty, and so is what follows it


async def _on_loop(work: Generator[None, None, bytes]) -> bytes:
    return finished(work)


async def _made(first: bytes, pieces: Iterator[bytes], make: OffLoop) -> AsyncGenerator[bytes, None]:
    piece = first
    while piece:
        yield piece
        piece = await make(_next(pieces))


def _size_of(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_size_of, value))
    if isinstance(value, Match):
        return ITEM_BYTES + text_bytes(value.stored_text)
    if isinstance(value, Record):
        return ITEM_BYTES + value.vector.nbytes + text_bytes(value.text)
    return ITEM_BYTES


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
