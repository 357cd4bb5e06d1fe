"""Test that a write repeated with its `Idempotency-Key` is carried out once."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import uuid
from contextlib import closing

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse
from tests.unit.server.idempotency.answering import Handler
from tests.unit.server.piped import operation, pipeline_state

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents._runtime.uids import seeded_uids
from super_advanced_agents.errors import InvalidInputError, StoreError, StoreFullError
from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.server.http.errors import add_error_handlers
from super_advanced_agents.server.http.middleware.calls import PipelineMiddleware
from super_advanced_agents.server.http.middleware.idempotency import IdempotentWrites
from super_advanced_agents.server.idempotency.postgres_requests import PostgresRequestTable
from super_advanced_agents.server.idempotency.request_store import IdempotencyKey, RequestTable, SaveReply, StartRequest
from super_advanced_agents.server.idempotency.results import Idempotency, Reply, digest_of
from super_advanced_agents.server.limits.admission import Admission
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
from super_advanced_agents.tenancy.shared_state import SharedState
from super_advanced_agents.tenancy.store_wrappers import CachedStore

ONE = digest_of(b"POST", b"/one", b"")
TWO = digest_of(b"POST", b"/two", b"")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "server" / "requests.db"


def pytest_generate_tests(metafunc):
    """Run the tests that do not concern a file with requests in PostgreSQL too."""
    if "requests" in metafunc.fixturenames:
        kinds = ["file"] if "file" in metafunc.fixturenames else ["file", "postgres"]
        metafunc.parametrize("requests", kinds, indirect=True)


@pytest.fixture
def requests(request, tmp_path):
    if request.param == "file":
        with Idempotency(tmp_path / "server" / "requests.db") as opened:
            yield opened
        return
    with SharedState(request.getfixturevalue("postgres_schema_url")) as state:
        state.open()
        with Idempotency(state) as opened:
            yield opened


@pytest.fixture(autouse=True)
def context():
    with active_context(RequestContext(principal=ANYBODY)) as active:
        yield active


async def test_repeated_request_gets_the_first_reply_unchanged(requests):
    """The reply has the same body and headers, and is marked as replayed."""
    handler = Handler(201, headers=(("content-type", "text/plain"),))
    first = await requests.areply("k", ONE, handler)
    again = await requests.areply("k", ONE, handler)
    assert len(handler.uids) == 1
    assert (again.status, again.body, again.headers) == (first.status, first.body, first.headers)
    assert (first.replayed, again.replayed) == (False, True)


async def test_idempotency_key_of_another_request_is_refused(requests):
    """With another key, or of another tenant, the request is carried out."""
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
async def test_invalid_idempotency_key_is_refused(requests, key):
    """A key is 1 to 255 visible ASCII characters."""
    with pytest.raises(InvalidInputError):
        await requests.areply(key, ONE, Handler())
    assert await requests.areply("~!" + "k" * 253, ONE, Handler())


async def test_repetition_gets_none_while_the_first_request_runs(requests):
    """After that it gets the reply."""
    handler = Handler()
    handler.may_finish.clear()
    first = asyncio.ensure_future(requests.areply("k", ONE, handler))
    while not handler.uids:  # noqa: ASYNC110
        await asyncio.sleep(0)
    with active_context(RequestContext(principal=ANYBODY)):
        assert await requests.areply("k", ONE, handler) is None
    handler.may_finish.set()
    await first
    assert (await requests.areply("k", ONE, handler)).replayed


@pytest.mark.parametrize("status", [200, 204, 404, 422])
async def test_final_reply_is_stored_whether_success_or_refusal(requests, status):
    """Carrying a refused request out again could change nothing."""
    handler = Handler(status)
    for _ in range(2):
        await requests.areply("k", ONE, handler)
    assert len(handler.uids) == 1


@pytest.mark.parametrize("reply", [{"status": s} for s in (401, 403, 409, 429, 499, 500, 503)] + [{"complete": False}])
async def test_request_with_a_retryable_reply_runs_again_with_equal_uids(requests, reply):
    """How far the first attempt came is unknown, so a repetition must write the same records."""
    handler = Handler(**reply)
    for _ in range(2):
        assert not (await requests.areply("k", ONE, handler)).replayed
    assert handler.uids[0] == handler.uids[1]


async def test_interrupted_request_runs_again_with_equal_uids_and_facts(file, context):
    """An error, a cancellation and the end of the process interrupt a request alike."""
    attempts = []

    async def broken(exc):
        attempts.append(
            (
                uids_for(None, 1),
                uids_for(["own", None], 2),
                await earlier_result(_find(len(attempts))),
                await earlier_result(_find(7)),
            )
        )
        if exc is not None:
            raise exc
        return Reply(status=200, body=b"done")

    async with Idempotency(file) as requests:
        for exc in (RuntimeError(), asyncio.CancelledError()):
            with pytest.raises(type(exc)):
                await requests.areply("k", ONE, lambda exc=exc: broken(exc))
        assert "attempt" not in context.notes
    async with Idempotency(file) as requests:
        assert (await requests.areply("k", ONE, lambda: broken(None))).body == b"done"
    uids, mixed = attempts[0][:2]
    assert mixed[0] == "own"
    assert [each[:2] for each in attempts] == [(uids, mixed)] * 3
    assert [each[2:] for each in attempts] == [(None, None), (0, 7), (0, 7)]


def _find(n):
    async def find():
        return n

    return find


async def test_request_without_a_key_gets_no_seeded_uids_and_no_facts():
    """The store generates its uids."""
    assert uids_for(None, 3) is None
    assert uids_for(["a", None], 2) == ["a", None]
    assert await earlier_result(_find(1)) is None


async def test_reply_that_cannot_be_stored_is_still_returned(requests, monkeypatch):
    """The write is done; a repetition carries it out again, with the same uids."""
    handler = Handler()
    table = PostgresRequestTable if isinstance(requests._place, SharedState) else RequestTable
    execute = table.execute

    def execute_on_full_disk(table, steps):
        if isinstance(steps[0], SaveReply):
            raise StoreFullError("no room")
        return execute(table, steps)

    monkeypatch.setattr(table, "execute", execute_on_full_disk)
    assert (await requests.areply("k", ONE, handler)).body == b"1"
    assert (await requests.areply("k", ONE, handler)).body == b"2"
    assert handler.uids[0] == handler.uids[1]


async def test_damaged_request_database_refuses_writes_with_keys(file):
    """Without it, a write could be carried out twice."""
    await asyncio.to_thread(file.parent.mkdir)
    await asyncio.to_thread(file.write_bytes, b"no database" * 1_000)
    handler = Handler()
    async with Idempotency(file) as requests:
        with pytest.raises(StoreError):
            await requests.areply("k", ONE, handler)
    assert not handler.uids


def test_idempotency_key_is_free_and_its_row_deleted_after_a_day(file, monkeypatch):
    """A sweep deletes the rows and subtracts them from the tenant's size."""
    now, ticks = time.time(), time.monotonic()
    table = RequestTable(file, max_keys=10, max_bytes=1_000)
    key = IdempotencyKey(tenant="t", key="k")
    [first] = table.execute([StartRequest(key, ONE)])
    table.execute([SaveReply(key, first.id, Reply(status=200, body=b"x" * 600))])
    monkeypatch.setattr(time, "time", lambda: now + 86_399)
    assert table.execute([StartRequest(key, TWO)]) == [None]
    monkeypatch.setattr(time, "time", lambda: now + 86_402)
    [second] = table.execute([StartRequest(key, TWO)])
    assert second.seed != first.seed
    table.execute([StartRequest(IdempotencyKey(tenant="t", key="l"), ONE)])
    monkeypatch.setattr(time, "time", lambda: now + 3 * 86_400)
    monkeypatch.setattr(time, "monotonic", lambda: ticks + 3 * 86_400)
    table.execute([])
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM requests").fetchone() == (0,)
    # With a size that still counted deleted rows, the first of these requests would be evicted and started anew.
    starts = [StartRequest(IdempotencyKey(tenant="t", key=f"new{n}"), ONE) for n in range(10)]
    started = table.execute(starts)
    table.execute([SaveReply(starts[-1].key, started[-1].id, Reply(status=200, body=b"x" * 900))])
    assert [each.id for each in table.execute(starts[:-1])] == [each.id for each in started[:-1]]
    table.close()


async def test_oldest_replies_of_a_tenant_are_evicted_beyond_its_limits(file):
    """Keys and bytes are limited, and no other tenant's replies are evicted."""
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


def test_seeded_uids_are_ordered_and_reproducible_uuids_of_version_7():
    """They have the time that is given, and any range of them can be generated."""
    uids = seeded_uids(b"s" * 16, 1_700_000_000.0, 0, 5_000)
    assert uids == sorted(set(uids))
    assert seeded_uids(b"s" * 16, 1_700_000_000.0, 4_000, 10) == uids[4_000:4_010]
    assert seeded_uids(b"t" * 16, 1_700_000_000.0, 0, 1) != uids[:1]
    first = uuid.UUID(uids[0])
    assert (first.version, first.variant, first.int >> 80) == (7, uuid.RFC_4122, 1_700_000_000_000)


@pytest.fixture
def store():
    with FAISSVectorStore(4) as opened:
        yield opened


async def test_cached_store_repeats_an_interrupted_write_with_equal_results(requests, store):
    """A record is stored once, and a repeated deletion counts what the first one deleted."""
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


class ServedApplication:
    """Run a small application with the middleware, and record the requests that reach it."""

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

        admission = Admission(permits=dict.fromkeys(PermitKind, 10), message_bytes=1_000)
        app.state.pipeline = pipeline_state(idempotency=requests, admission=admission).pipeline
        app.add_middleware(IdempotentWrites)
        app.add_middleware(PipelineMiddleware, routes=RouteTable(OPERATIONS))
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test")


@pytest.fixture
async def served(requests):
    application = ServedApplication(requests)
    async with application.client:
        yield application


async def test_repeated_rest_write_gets_the_first_response(served):
    """Status, headers and body are the same, and a header marks the repetition."""
    headers = {"Idempotency-Key": "k"}
    first = await served.client.post("/write", content=b"body", headers=headers)
    again = await served.client.post("/write", content=b"body", headers=headers)
    assert served.bodies == [b"body"]
    assert (first.status_code, first.text, first.headers["x-own"]) == (201, "1", "1")
    assert "idempotency-replayed" not in first.headers
    assert again.headers.pop("idempotency-replayed") == "true"
    assert (again.status_code, again.content, again.headers) == (first.status_code, first.content, first.headers)
    deleted = [await served.client.delete("/write/x", headers={"Idempotency-Key": "d"}) for _ in range(2)]
    assert [each.status_code for each in deleted] == [404, 404]
    assert len(served.bodies) == 2


async def test_rest_key_with_another_body_path_or_query_is_answered_422(served):
    """The problem names the header."""
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


async def test_rest_write_with_an_empty_key_or_two_keys_is_answered_422(served):
    """The write is not carried out."""
    for headers in ([("idempotency-key", "")], [("idempotency-key", "a"), ("idempotency-key", "b")]):
        refused = await served.client.post("/write", content=b"body", headers=headers)
        assert refused.status_code == 422
    assert not served.bodies


async def test_rest_reads_and_streams_ignore_the_idempotency_key(served):
    """A read must not get an old result, and a stream is sent as it is made."""
    headers = {"Idempotency-Key": "k"}
    assert [(await served.client.post("/read", headers=headers)).text for _ in range(2)] == ["1", "2"]
    for _ in range(2):
        streamed = await served.client.post("/stream", headers=headers)
        assert streamed.text == "data: 1\n\ndata: 2\n\n"
    assert len(served.bodies) == 4


async def test_keyed_rest_write_with_a_too_long_body_is_answered_413(served):
    """The body is counted even if its length was not declared."""

    async def chunks():
        for _ in range(20):
            yield b"x" * 100

    refused = await served.client.post("/write", content=chunks(), headers={"Idempotency-Key": "k"})
    assert refused.status_code == 413
    assert not served.bodies
