"""Test that long JSON answers are encoded in pieces, with the text that encoding them at once has."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from functools import partial

import numpy as np
import orjson
import pytest

from super_advanced_agents._runtime.concurrency.slices import finished
from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.protocol.json_codec import json_of_result
from super_advanced_agents.server.http.streaming.json_answers import (
    PIECE_BYTES,
    Items,
    PiecewiseResponse,
    json_answer,
    made_pieces,
)
from super_advanced_agents.types import Match, Record


def _match(i, text="x" * 1_000):
    return Match.of_stored(
        text,
        '{"n":1}',
        score=0.5,
        similarity=0.5,
        uid=str(i),
        source=None,
        session=None,
        created_at=1.0,
        updated_at=2.0,
    )


def _record(i):
    return Record(
        uid=str(i), vector=np.full(512, 0.1, np.float32), metadata={"a": [1, {"b": None}]}, namespace="n",
        model_id=None, source=None, session=None, expires_at=None,
        created_at=1.0, updated_at=2.0,
    )  # fmt: skip


CONTENTS = {
    "many matches": {"results": [_match(i) for i in range(500)]},
    "matches of many queries": {"results": [[_match(i) for i in range(20)] for _ in range(10)]},
    "few long matches": {"results": [_match(i, "y" * 60_000) for i in range(3)]},
    "a page": {"records": [_record(i) for i in range(100)], "next": "99"},
    "few": {"results": [_match(1)]},
    "none": {"results": []},
    "uids": [str(i) for i in range(30_000)],
    "no list": {"text": "é", "count": 3},
}


class _Held:
    def __init__(self, error=None):
        self.now = self.most = 0
        self._error = error

    @contextmanager
    def hold(self, size):
        if self._error is not None:
            raise self._error
        self.now += size
        self.most = max(self.most, self.now)
        yield
        self.now -= size


async def _off_loop(work):
    return await asyncio.to_thread(finished, work)


async def _send(response):
    async def receive():
        await never.wait()

    async def send(message):
        sent.append(message)

    never, sent = asyncio.Event(), []
    await response({"type": "http"}, receive, send)
    return sent


@pytest.mark.parametrize("name", CONTENTS)
async def test_answer_in_pieces_has_the_text_of_the_whole(name):
    """Short answers are one message with their length; of long ones each piece is bounded."""
    content, held = CONTENTS[name], _Held()
    convert = partial(json_of_result, vectors="numbers")
    lazy = (
        {key: Items(value, convert) if isinstance(value, list) else value for key, value in content.items()}
        if isinstance(content, dict)
        else Items(content, convert)
    )
    start, *pieces = await _send(await json_answer(lazy, 200, held.hold, _off_loop))
    bodies = [message["body"] for message in pieces]
    expected = orjson.dumps(
        json_of_result(content)
        if not isinstance(content, dict)
        else {key: convert(value) for key, value in content.items()},
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
    assert b"".join(bodies) == expected
    assert max(map(len, bodies)) < 2 * PIECE_BYTES
    assert (b"content-length" in dict(start["headers"])) is (len(bodies) == 1) is (len(expected) < PIECE_BYTES)
    assert held.now == 0
    assert (held.most > 0) is (len(bodies) > 1)


async def test_items_are_converted_only_as_they_are_sent():
    """A client that leaves costs no further conversion."""
    converted = []

    def convert(value):
        converted.append(value)
        return "x" * 10_000

    await json_answer({"results": Items(list(range(1_000)), convert)}, 200, _Held().hold, _off_loop)
    assert len(converted) < 10


@pytest.mark.parametrize(("count", "on_loop"), [(64, True), (65, False)])
async def test_pieces_of_many_items_are_made_off_the_event_loop(count, on_loop):
    """Few items are worth no change of threads."""
    threads = set()

    def convert(value):
        threads.add(threading.get_ident())
        return "x" * 10_000

    await _send(await json_answer(Items(list(range(count)), convert), 200, _Held().hold, _off_loop))
    assert (threads == {threading.get_ident()}) is on_loop
    assert (threading.get_ident() in threads) is on_loop


async def test_refused_room_is_raised_before_the_first_byte():
    """The error then has a status of its own."""
    held = _Held(OverloadedError("full", retry_after_s=1))
    with pytest.raises(OverloadedError):
        await _send(PiecewiseResponse(made_pieces([b"x"]), 200, held.hold, 1))
