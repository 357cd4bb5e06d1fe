"""Test that a write repeated with its `Idempotency-Key` is carried out once."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from tests.unit.server.idempotency.answering import ONE, TWO, Handler

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import InvalidInputError, StoreFullError
from super_advanced_agents.server.idempotency.postgres_requests import PostgresRequestTable
from super_advanced_agents.server.idempotency.request_store import RequestTable, SaveReply
from super_advanced_agents.server.idempotency.results import Idempotency, Reply, digest_of
from super_advanced_agents.tenancy.context import ANYBODY, Access, Principal, RequestContext, active_context
from super_advanced_agents.tenancy.idempotent_writes import earlier_result, uids_for
from super_advanced_agents.tenancy.result_cache import ResultCache
from super_advanced_agents.tenancy.shared_state import SharedState
from super_advanced_agents.tenancy.store_wrappers import CachedStore


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
