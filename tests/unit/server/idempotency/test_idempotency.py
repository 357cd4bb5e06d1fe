"""Asked twice by one key, done once."""

from __future__ import annotations

import asyncio
import time
import uuid

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse
from tests.unit.server.piped import operation, state

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents._runtime.uids import seeded_uids
from super_advanced_agents.errors import InvalidInputError, StoreError, StoreFullError
from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.server.http.errors import add_error_handlers
from super_advanced_agents.server.http.middleware.bodies import BodyLimit
from super_advanced_agents.server.http.middleware.calls import PipelineMiddleware
from super_advanced_agents.server.http.middleware.idempotency import IdempotentWrites
from super_advanced_agents.server.idempotency.request_store import IdempotencyKey, RequestTable, StartRequest
from super_advanced_agents.server.idempotency.results import Idempotency, Reply, digest_of
from super_advanced_agents.server.route_table import RouteTable
from super_advanced_agents.tenancy.context import (
    ANYBODY,
    Access,
    Principal,
    RequestContext,
    active_context,
    current_context,
)
from super_advanced_agents.tenancy.idempotent_writes import earlier_result, uids_for
from super_advanced_agents.tenancy.result_cache import ResultCache
from super_advanced_agents.tenancy.store_wrappers import CachedStore

ONE = digest_of(b"POST", b"/one", b"")
TWO = digest_of(b"POST", b"/two", b"")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "server" / "requests.db"


@pytest.fixture
def requests(file):
    with Idempotency(file) as opened:
        yield opened


@pytest.fixture(autouse=True)
def call():
    with active_context(RequestContext(principal=ANYBODY)) as answered:
        yield answered


class Handler:
    """Answers with a number that no other answer has, and counts."""

    def __init__(self, status=200, **reply):
        self.status = status
        self.reply = reply
        self.uids = []
        self.services = asyncio.Event()
        self.services.set()

    async def __call__(self):
        self.uids.append(uids_for(None, 2))
        await self.services.wait()
        return Reply(status=self.status, body=str(len(self.uids)).encode(), **self.reply)


async def test_the_first_answer_is_everybodys(requests):
    """Byte for byte, headers too, and marked as an earlier one."""
    handler = Handler(201, headers=(("content-type", "text/plain"),))
    first = await requests.areply("k", ONE, handler)
    again = await requests.areply("k", ONE, handler)
    assert len(handler.uids) == 1
    assert (again.status, again.body, again.headers) == (first.status, first.body, first.headers)
    assert (first.replayed, again.replayed) == (False, True)


async def test_a_key_is_for_one_request(requests):
    """Something else by the same key is refused, and not done; by another key or of another tenant it is done."""
    handler = Handler()
    await requests.areply("k", ONE, handler)
    with pytest.raises(InvalidInputError) as refused:
        await requests.areply("k", TWO, handler)
    assert refused.value.field == "Idempotency-Key"
    await requests.areply("l", TWO, handler)
    with active_context(RequestContext(principal=Principal(tenant="acme", scopes=frozenset(Access), key_id="x"))):
        await requests.areply("k", TWO, handler)
    assert len(handler.uids) == 3


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "schlüssel", "a\n", "\x7f"])
async def test_what_is_no_key(requests, key):
    """1 to 255 visible ASCII characters are."""
    with pytest.raises(InvalidInputError):
        await requests.areply(key, ONE, Handler())
    assert await requests.areply("~!" + "k" * 253, ONE, Handler())


async def test_while_the_first_is_carried_out(requests):
    """A second one is told so; afterwards it gets the answer."""
    handler = Handler()
    handler.services.clear()
    first = asyncio.ensure_future(requests.areply("k", ONE, handler))
    while not handler.uids:  # noqa: ASYNC110
        await asyncio.sleep(0)
    with active_context(RequestContext(principal=ANYBODY)):
        assert await requests.areply("k", ONE, handler) is None
    handler.services.set()
    await first
    assert (await requests.areply("k", ONE, handler)).replayed


@pytest.mark.parametrize("status", [200, 204, 404, 422])
async def test_answers_are_kept(requests, status):
    """Refusals too, where asking again could change nothing."""
    handler = Handler(status)
    for _ in range(2):
        await requests.areply("k", ONE, handler)
    assert len(handler.uids) == 1


@pytest.mark.parametrize("reply", [{"status": s} for s in (401, 403, 409, 429, 499, 500, 503)] + [{"complete": False}])
async def test_what_may_pass_is_carried_out_again(requests, reply):
    """By the same names, since nobody knows how far it came."""
    handler = Handler(**reply)
    for _ in range(2):
        assert not (await requests.areply("k", ONE, handler)).replayed
    assert handler.uids[0] == handler.uids[1]


async def test_a_request_that_broke_off_is_carried_out_again(file, call):
    """By an error, by a cancellation, by the end of the process: the same names and the same facts each time."""
    seen = []

    async def broken(exc):
        seen.append(
            (
                uids_for(None, 1),
                uids_for(["own", None], 2),
                await earlier_result(_number(len(seen))),
                await earlier_result(_number(7)),
            )
        )
        if exc is not None:
            raise exc
        return Reply(status=200, body=b"done")

    async with Idempotency(file) as requests:
        for exc in (RuntimeError(), asyncio.CancelledError()):
            with pytest.raises(type(exc)):
                await requests.areply("k", ONE, lambda exc=exc: broken(exc))
        assert "attempt" not in call.notes
    async with Idempotency(file) as requests:
        assert (await requests.areply("k", ONE, lambda: broken(None))).body == b"done"
    names, mixed = seen[0][:2]
    assert mixed[0] == "own"
    assert [each[:2] for each in seen] == [(names, mixed)] * 3
    assert [each[2:] for each in seen] == [(None, None), (0, 7), (0, 7)]


def _number(n):
    async def find():
        return n

    return find


async def test_without_a_key_nothing_is_named_or_asked():
    """The store makes names, as ever."""
    assert uids_for(None, 3) is None
    assert uids_for(["a", None], 2) == ["a", None]
    assert await earlier_result(_number(1)) is None


async def test_a_reply_that_cannot_be_kept_is_given_all_the_same(requests, monkeypatch):
    """The write is done; whoever asks again has its reply made anew, with the same names."""
    handler = Handler()
    execute = requests._execute

    def full(steps):
        if not isinstance(steps[0], StartRequest):
            raise StoreFullError("no room")
        return execute(steps)

    monkeypatch.setattr(requests._writer, "_run", full)
    assert (await requests.areply("k", ONE, handler)).body == b"1"
    assert (await requests.areply("k", ONE, handler)).body == b"2"
    assert handler.uids[0] == handler.uids[1]


async def test_a_file_that_is_no_database_refuses_writes_with_keys(file):
    """Rather than carrying out twice what must be done once."""
    await asyncio.to_thread(file.parent.mkdir)
    await asyncio.to_thread(file.write_bytes, b"no database" * 1_000)
    handler = Handler()
    async with Idempotency(file) as requests:
        with pytest.raises(StoreError):
            await requests.areply("k", ONE, handler)
    assert not handler.uids


def test_keys_are_kept_for_a_day(file, monkeypatch):
    """Then they are free, and their rows go."""
    now = time.time()
    table = RequestTable(file, max_keys=10, max_bytes=1_000)
    [first] = table.execute([StartRequest(IdempotencyKey(tenant="t", key="k"), ONE)])
    monkeypatch.setattr(time, "time", lambda: now + 86_399)
    assert table.execute([StartRequest(IdempotencyKey(tenant="t", key="k"), TWO)]) == [None]
    monkeypatch.setattr(time, "time", lambda: now + 86_402)
    [second] = table.execute([StartRequest(IdempotencyKey(tenant="t", key="k"), TWO)])
    assert second.seed != first.seed
    table.execute([StartRequest(IdempotencyKey(tenant="t", key="l"), ONE)])
    monkeypatch.setattr(time, "time", lambda: now + 3 * 86_400)
    table._swept_at = -1_000_000.0
    table.execute([])
    assert table._connection.execute("SELECT count(*) FROM requests").fetchone() == (0,)
    assert (table._size("t").keys, table._size("t").bytes) == (0, 0)
    table.close()


async def test_a_tenant_has_room_for_so_many(file):
    """By number and by length; its oldest leave first, and no other tenant's."""
    async with Idempotency(file, max_keys=3, max_bytes=1_000) as requests:
        with active_context(RequestContext(principal=Principal(tenant="acme", scopes=frozenset(Access), key_id="x"))):
            await requests.areply("mine", ONE, Handler())
        for key in "abcd":
            await requests.areply(key, ONE, Handler())
        assert not (await requests.areply("a", ONE, Handler())).replayed
        assert (await requests.areply("d", ONE, Handler())).replayed

        async def long():
            return Reply(status=200, body=b"x" * 600)

        await requests.areply("e", ONE, long)
        await requests.areply("f", ONE, long)
        assert not (await requests.areply("e", ONE, long)).replayed
        with active_context(RequestContext(principal=Principal(tenant="acme", scopes=frozenset(Access), key_id="x"))):
            assert (await requests.areply("mine", ONE, Handler())).replayed


def test_names_of_a_seed_are_proper_ones():
    """UUIDs of version 7, in order, the same from any start, and of the moment they are told."""
    names = seeded_uids(b"s" * 16, 1_700_000_000.0, 0, 5_000)
    assert names == sorted(set(names))
    assert seeded_uids(b"s" * 16, 1_700_000_000.0, 4_000, 10) == names[4_000:4_010]
    assert seeded_uids(b"t" * 16, 1_700_000_000.0, 0, 1) != names[:1]
    first = uuid.UUID(names[0])
    assert (first.version, first.variant, first.int >> 80) == (7, uuid.RFC_4122, 1_700_000_000_000)


@pytest.fixture
def store():
    with FAISSVectorStore(4) as opened:
        yield opened


async def test_a_served_store_writes_the_same_again(requests, store):
    """Added twice by a request that broke off, a record is there once; a deletion counts what it deleted first."""
    cached = CachedStore(store, ResultCache(), store_key="default/x")
    vector, results = np.ones(4), []

    async def broken(operation):
        results.append(await operation())
        raise RuntimeError

    for key, write in (
        ("add", lambda: cached.aadd_batch([vector, vector], [None, {"n": 1}], uids=[None, "own"])),
        ("delete", lambda: cached.adelete(where={"n": 1})),
        ("named", lambda: cached.adelete(["own", "own", "gone"], where={})),
    ):
        for _ in range(2):
            with pytest.raises(RuntimeError):
                await requests.areply(key, digest_of(key.encode()), lambda do=write: broken(do))
    assert await store.acount() == 1
    assert results[0] == results[1]
    assert results[2:] == [1, 1, 0, 0]


# -- over REST ----------------------------------------------------------------------------------------------------


_WRITES = {"permit": PermitKind.WRITE, "keyed": True}
OPERATIONS = (
    operation("POST", "/write", **_WRITES),
    operation("DELETE", "/write/{name}", **_WRITES),
    operation("POST", "/read"),
    operation("POST", "/stream", **_WRITES),
)


class Served:
    """A small application with the middleware, and what reached it."""

    def __init__(self, requests):
        self.bodies = []
        app = FastAPI()
        add_error_handlers(app)

        @app.post("/write", status_code=201)
        async def write(request: Request) -> Response:
            self.bodies.append(await request.body())
            return Response(str(len(self.bodies)), 201, {"x-own": "1"}, media_type="text/plain")

        @app.delete("/write/{name}", status_code=204)
        async def remove(name: str) -> Response:
            self.bodies.append(name)
            return Response(status_code=204 if len(self.bodies) == 1 else 404)

        @app.post("/read")
        async def read() -> int:
            self.bodies.append(b"")
            return len(self.bodies)

        @app.post("/stream")
        async def stream() -> StreamingResponse:
            self.bodies.append(current_context().notes.copy())

            async def pieces():
                yield b"data: 1\n\n"
                yield b"data: 2\n\n"

            return StreamingResponse(pieces(), media_type="text/event-stream")

        app.state.pipeline = state(idempotency=requests).pipeline
        app.add_middleware(IdempotentWrites)
        app.add_middleware(BodyLimit, max_bytes=1_000)
        app.add_middleware(PipelineMiddleware, routes=RouteTable(OPERATIONS))
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test")


@pytest.fixture
async def served(requests):
    made = Served(requests)
    async with made.client:
        yield made


async def test_a_write_is_answered_again(served):
    """With its status, its headers and its body, and a header that says so."""
    headers = {"Idempotency-Key": "k"}
    first = await served.client.post("/write", content=b"body", headers=headers)
    again = await served.client.post("/write", content=b"body", headers=headers)
    assert served.bodies == [b"body"]
    assert (first.status_code, first.text, first.headers["x-own"]) == (201, "1", "1")
    assert "idempotency-replayed" not in first.headers
    assert again.headers.pop("idempotency-replayed") == "true"
    assert (again.status_code, again.content, again.headers) == (first.status_code, first.content, first.headers)
    gone = [await served.client.delete("/write/x", headers={"Idempotency-Key": "d"}) for _ in range(2)]
    assert [each.status_code for each in gone] == [404, 404]
    assert len(served.bodies) == 2


async def test_another_body_path_or_query_is_another_request(served):
    """422, and the header is named."""
    headers = {"Idempotency-Key": "k"}
    await served.client.post("/write", content=b"body", headers=headers)
    for other in (
        served.client.post("/write", content=b"other", headers=headers),
        served.client.post("/write?a=1", content=b"body", headers=headers),
        served.client.delete("/write/x", headers=headers),
    ):
        refused = await other
        assert refused.status_code == 422
        assert refused.json()["field"] == "Idempotency-Key"
    assert len(served.bodies) == 1


async def test_keys_that_are_wrong_are_refused(served):
    """Empty, or two of them."""
    for headers in ([("idempotency-key", "")], [("idempotency-key", "a"), ("idempotency-key", "b")]):
        refused = await served.client.post("/write", content=b"body", headers=headers)
        assert refused.status_code == 422
    assert not served.bodies


async def test_reads_and_streams_are_passed_by(served):
    """A read is never answered with yesterday's; what is streamed comes as it is made."""
    headers = {"Idempotency-Key": "k"}
    assert [(await served.client.post("/read", headers=headers)).text for _ in range(2)] == ["1", "2"]
    for _ in range(2):
        streamed = await served.client.post("/stream", headers=headers)
        assert streamed.text == "data: 1\n\ndata: 2\n\n"
    assert len(served.bodies) == 4


async def test_a_body_that_is_too_long_is_refused_as_ever(served):
    """413, also where its length is not told beforehand."""

    async def chunks():
        for _ in range(20):
            yield b"x" * 100

    refused = await served.client.post("/write", content=chunks(), headers={"Idempotency-Key": "k"})
    assert refused.status_code == 413
    assert not served.bodies
