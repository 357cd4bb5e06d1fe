"""Test the guard of an engine: what is repeated, when calls are refused, and how it heals."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import EngineUnavailableError, InvalidInputError
from super_advanced_agents.stores.requests import AddRequest
from super_advanced_agents.stores.wrappers.guarded import EngineGuard, GuardedStore

AWAY = EngineUnavailableError("the engine is away")


class _FailingStore(FAISSVectorStore):
    """Be an engine that is away for some calls: before they are carried out, or after."""

    def __init__(self):
        super().__init__(2)
        self.calls = 0
        self.away = 0
        self.lost_replies = 0

    async def _execute(self, request):
        self.calls += 1
        if self.away:
            self.away -= 1
            raise AWAY.with_traceback(None)
        result = await super()._execute(request)
        if self.lost_replies:
            self.lost_replies -= 1
            raise AWAY.with_traceback(None)
        return result


@pytest.fixture
def engine():
    """Make the engine, which the guarded store closes."""
    return _FailingStore()


@pytest.fixture
async def store(engine):
    """Make the guarded store."""
    async with GuardedStore(engine, EngineGuard()) as opened:
        yield opened


async def test_read_is_repeated_once_when_the_engine_was_lost(store, engine):
    """The caller does not notice a connection that was cut."""
    engine.away = 1
    assert await store.acount() == 0
    engine.away = 2
    with pytest.raises(EngineUnavailableError):
        await store.acount()
    assert engine.calls == 4


async def test_write_is_repeated_only_with_its_id(store, engine):
    """Without one, nobody knows whether it was carried out; with one, it is carried out once."""
    engine.lost_replies = 1
    with pytest.raises(EngineUnavailableError):
        await store.aadd_batch(np.eye(2))
    assert await store.acount() == 2
    engine.lost_replies = 1
    vectors = np.eye(2, dtype=np.float32)
    request = await store.abuild_request(
        lambda bounds: AddRequest(bounds=bounds, vectors=vectors, uids=["a", "b"], write_id="w")
    )
    assert await store.aexecute(request) == ["a", "b"]
    assert await store.acount() == 4


async def test_engine_that_keeps_failing_is_left_alone_and_heals(store, engine):
    """Calls fail at once meanwhile, and one that succeeds opens it to all."""
    engine.away = 1_000
    for _ in range(20):
        with pytest.raises(EngineUnavailableError):
            await store.acount()
    asked = engine.calls
    assert asked <= 9
    assert not store._guard.reachable
    engine.away = 0
    async with asyncio.timeout(10):
        while True:
            try:
                await store.acount()
                break
            except EngineUnavailableError:
                await asyncio.sleep(0.01)
    assert store._guard.reachable
    await asyncio.gather(*(store.acount() for _ in range(20)))


async def test_repetitions_have_a_budget(store, engine):
    """Ten failures are repeated, and then one for each ten calls that succeed."""
    for _ in range(15):
        engine.away = 1
        try:
            await store.acount()
        except EngineUnavailableError:
            break
    else:
        pytest.fail("the budget has no end")
    assert engine.calls >= 20
    for _ in range(10):
        await store.acount()
    engine.away = 1
    await store.acount()


async def test_refused_request_says_nothing_about_the_engine(store, engine):
    """However many wrong requests a caller sends, the engine is asked."""
    [uid] = await store.aadd_batch(np.eye(2)[:1])
    for _ in range(30):
        with pytest.raises(InvalidInputError):
            await store.aupdate(uid, {"a": 1}, vector=np.zeros(2))
    assert store._guard.reachable
