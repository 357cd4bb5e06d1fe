"""Equal searches are answered from the result cache, and never with outdated results."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import count, product

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import FilterError, InvalidInputError
from super_advanced_agents.stores.requests import Bounds, HybridSearchRequest, KeywordSearchRequest, SearchRequest
from super_advanced_agents.tenancy import result_cache
from super_advanced_agents.tenancy.context import ANYBODY, RequestContext, active_context
from super_advanced_agents.tenancy.result_cache import NO_CACHE, ResultCache, key_of
from super_advanced_agents.tenancy.store_wrappers import CachedStore
from super_advanced_agents.types import ExplainedMatch, Weights

DIM = 8
ONE = np.ones(DIM, dtype=np.float32)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class PausableStore(FAISSVectorStore):
    """Count the searches that reach the store, and pause each of them while `may_search` is not set."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.search_count = 0
        self.may_search = asyncio.Event()
        self.may_search.set()
        self.entered = asyncio.Event()

    async def aexecute(self, request):
        if isinstance(request, SearchRequest | HybridSearchRequest | KeywordSearchRequest):
            self.search_count += 1
            self.entered.set()
            await self.may_search.wait()
        return await super().aexecute(request)


@pytest.fixture
def store():
    with PausableStore(DIM) as opened:
        opened.add(ONE, {"text": "one", "deep": {"list": [1, {"x": 2}]}}, "u", namespace="a")
        yield opened


@pytest.fixture
def shared_store():
    """Yield a store that threads write to: two namespaces of four records."""
    with FAISSVectorStore(DIM) as opened:
        for space, uid in product("ab", range(4)):
            opened.add(ONE, {"tag": 0, "text": "word"}, str(uid), namespace=space)
        yield opened


@pytest.fixture
def cache():
    return ResultCache()


@pytest.fixture
def cached(store, cache):
    return CachedStore(store, cache, store_key="acme/memories")


async def test_equal_search_reaches_the_store_once(store, cache, cached):
    """Vector, hybrid and keyword searches keep their scores and explanations."""
    ways = [
        lambda: cached.asearch(ONE, namespace="a", where={"text": "one"}),
        lambda: cached.asearch_hybrid(ONE, "one", namespace="a", explain=True),
        lambda: cached.asearch_keywords("one", namespace="a"),
    ]
    for n, way in enumerate(ways, start=1):
        first = await way()
        assert await way() == first
        assert store.search_count == n
    assert isinstance(first := (await ways[1]())[0], ExplainedMatch)
    assert first.explanation.signals
    assert cache.stats() == {"entries": 3, "hits": 4, "misses": 3, "shared": 0, "bypassed": 0}


async def test_search_with_any_other_argument_reaches_the_store(store, cache, cached):
    """Everything that a result depends on is part of the cache key."""
    given = {"namespace": "a", "where": {"n": 1}, "top_k": 5, "model_id": None, "explain": False, "weights": None}
    others = [{"namespace": "b"}, {"where": {"n": 1.5}}, {"where": None}, {"top_k": 6}, {"explain": True}]
    others += [{"weights": Weights(nearby=0.1)}, {"model_id": "m"}, {}]
    for other in others:
        await cached.asearch_hybrid(ONE, "one", **{**given, **other})
    await cached.asearch_hybrid(ONE, "two", **given)
    await cached.asearch_hybrid(ONE * 2, "one", **given)
    await cached.asearch(ONE, namespace="a")
    await cached.asearch(ONE, namespace="a", return_scores=False)
    await CachedStore(store, cache, store_key="bolt/memories").asearch_hybrid(ONE, "one", **given)
    assert store.search_count == len(others) + 5


async def test_cached_search_shows_an_acknowledged_write_at_once(store, cached):
    """A write to another namespace leaves the cached results."""
    assert len(await cached.asearch(ONE, namespace="a")) == 1
    await cached.aadd(ONE, uid="v", namespace="a")
    assert len(await cached.asearch(ONE, namespace="a")) == 2
    await cached.adelete(["u"], namespace="a")
    assert [match.uid for match in await cached.asearch(ONE, namespace="a")] == ["v"]
    searches_before = store.search_count
    await cached.aadd(ONE, namespace="b")
    await cached.asearch(ONE, namespace="a")
    assert store.search_count == searches_before


async def test_cached_search_does_not_show_an_expired_record(store, cached, monkeypatch):
    """No write happens in between."""
    await cached.aadd(ONE, uid="v", namespace="a", expires_in_s=100.0)
    assert len(await cached.asearch(ONE, namespace="a")) == 2
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 101.0)
    assert [match.uid for match in await cached.asearch(ONE, namespace="a")] == ["u"]


async def test_result_that_a_write_overtook_is_given_to_no_later_search(store, cache, cached):
    """It may be of before or after the write; a later search finds the write."""
    store.may_search.clear()
    search = asyncio.ensure_future(cached.asearch(ONE, namespace="a"))
    await store.entered.wait()
    await cached.aadd(ONE, uid="v", namespace="a")
    store.may_search.set()
    await search
    for _ in range(2):
        assert {match.uid for match in await cached.asearch(ONE, namespace="a")} == {"u", "v"}
    assert (store.search_count, cache.stats()["hits"]) == (2, 1)


async def test_version_is_asked_for_once_a_search():
    """An engine elsewhere answers that in a round trip."""
    cache, asked = ResultCache(), []

    async def version():
        asked.append(1)
        return 7

    async def search():
        return [[]]

    for n in range(1, 4):
        await cache.aresult("question", version, search, store_key="acme/memories")
        assert len(asked) == n


async def test_changes_to_a_match_do_not_reach_later_results(cached):
    """Nested metadata is copied, too."""
    for _ in range(3):
        [match] = await cached.asearch(ONE, namespace="a")
        assert match.metadata == {"text": "one", "deep": {"list": [1, {"x": 2}]}}
        match.metadata["deep"]["list"][1]["x"] = "changed"
        match.metadata["deep"]["list"].append("changed")
        match.metadata["text"] = "changed"


async def test_concurrent_equal_searches_share_one_search(store, cache, cached):
    """Each caller gets a result of its own."""
    store.may_search.clear()
    searches = [asyncio.ensure_future(cached.asearch(ONE, namespace="a")) for _ in range(5)]
    await store.entered.wait()
    store.may_search.set()
    found = await asyncio.gather(*searches)
    assert store.search_count == 1
    found[0][0].metadata.clear()
    assert all(matches[0].metadata["text"] == "one" for matches in found[1:])
    assert cache.stats()["shared"] == 4


@pytest.mark.parametrize("caller", ["first", "second"])
async def test_cancelled_search_does_not_cancel_the_ones_that_share_it(store, cache, cached, caller):
    """The cancelled caller is the one that searches, or one that waits for it."""
    store.may_search.clear()
    searches = [asyncio.ensure_future(cached.asearch(ONE, namespace="a")) for _ in range(3)]
    await store.entered.wait()
    await asyncio.sleep(0)
    cancelled = searches.pop(0 if caller == "first" else 1)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    store.may_search.set()
    assert all(len(found) == 1 for found in await asyncio.gather(*searches))
    assert not cache._searches  # `stats()` does not count running searches, and a forgotten one would leak


async def test_no_cache_searches_anew_and_caches_the_result(store, cached):
    """A later search without `no_cache` is answered from the cache."""
    await cached.asearch(ONE, namespace="a")
    with active_context(RequestContext(principal=ANYBODY, notes={NO_CACHE: True})):
        await cached.asearch(ONE, namespace="a")
    assert store.search_count == 2
    await cached.asearch(ONE, namespace="a")
    assert store.search_count == 2


async def test_recency_predicate_and_large_searches_are_not_cached(store, cache, cached):
    """Recency depends on time and a predicate on code; large results would fill the cache."""
    for _ in range(2):
        await cached.asearch_hybrid(ONE, "one", namespace="a", weights=Weights(recency=0.5))
        await cached.asearch_with_filter(ONE, 5, lambda _: True, namespace="a")
        await cached.asearch_batch([ONE] * 17, namespace="a")
    await cached.aadd_batch([ONE] * 3, [{"text": "x" * 30_000}] * 3, namespace="big")
    await cached.asearch(ONE, namespace="big")
    assert cache.stats()["entries"] == 0


async def test_invalid_search_raises_every_time(cached):
    """Errors are the same as without a cache, and never cached."""
    for _ in range(2):
        with pytest.raises(FilterError):
            await cached.asearch(ONE, namespace="a", where={"n": {"$no": 1}})
        with pytest.raises(InvalidInputError):
            await cached.asearch([1.0, "x"], namespace="a")
        with pytest.raises(InvalidInputError):
            await cached.asearch(ONE, namespace="a\n")


def test_cache_key_differs_by_every_field_of_a_search():
    """The order of the keys in a filter makes no difference."""
    bounds = Bounds(dim=DIM)

    def key(store_key="o", kind=SearchRequest, **given):
        return key_of(store_key, kind(bounds=bounds, **{"query_vectors": [ONE], **given}))

    assert key(where={"a": 1, "b": 2}) == key(where={"b": 2, "a": 1})
    others = [
        key(), key("p"), key(where={}), key(where={"n": None}), key(where={"n": 1}), key(where={"n": "1"}),
        key(where={"$created_at": {"$gt": NOON}}), key(where={"$created_at": {"$gt": NOON + timedelta(hours=1)}}),
        key(top_k=6), key(namespace="a"), key(model_id="a"), key(return_scores=False), key(query_vectors=[ONE, ONE]),
    ]  # fmt: skip
    assert len(set(others)) == len(others)


async def test_cache_evicts_the_least_recently_used_result(store):
    """With `max_entries=0` nothing is cached."""
    small, none = ResultCache(max_entries=2), ResultCache(max_entries=0)
    for cache in (small, none):
        cached = CachedStore(store, cache, store_key="o")
        for k in (1, 2, 1, 3, 1):
            await cached.asearch(ONE, k, namespace="a")
    assert (small.stats()["entries"], small.stats()["hits"]) == (2, 2)
    assert (none.stats()["entries"], none.stats()["bypassed"]) == (0, 5)


async def test_tenant_that_floods_the_cache_evicts_its_own_results(store):
    """The few results of another tenant stay."""
    cache = ResultCache(max_entries=8)
    quiet, hostile = (CachedStore(store, cache, store_key=f"{tenant}/memories") for tenant in ("quiet", "hostile"))
    for top_k in (1, 2):
        await quiet.asearch(ONE, top_k=top_k)
    for top_k in range(1, 40):
        await hostile.asearch(ONE, top_k=top_k)
    before = store.search_count
    for top_k in (1, 2):
        await quiet.asearch(ONE, top_k=top_k)
    assert store.search_count == before
    assert cache.stats()["entries"] == 8


async def test_tenant_whose_results_have_the_most_bytes_evicts_its_own_results(store, monkeypatch):
    """The results of another tenant stay, though they are more and smaller."""
    monkeypatch.setattr(result_cache, "_MAX_BYTES", 256 * 1024)  # no setting; 64 MiB would take a thousand searches
    cache = ResultCache()
    quiet, hostile = (CachedStore(store, cache, store_key=f"{tenant}/memories") for tenant in ("quiet", "hostile"))
    for namespace, length in (("small", 2_000), ("large", 30_000)):
        await store.aadd(ONE, {"text": "x" * length}, namespace=namespace)
    for top_k in range(1, 17):
        await quiet.asearch(ONE, top_k=top_k, namespace="small")
    for top_k in range(1, 17):
        await hostile.asearch(ONE, top_k=top_k, namespace="large")
    before = store.search_count
    for top_k in range(1, 17):
        await quiet.asearch(ONE, top_k=top_k, namespace="small")
    assert store.search_count == before
    assert cache.stats()["entries"] == 16 + 7


async def test_equal_searches_of_two_tenants_share_nothing(store):
    """Neither a cached result nor a running search of one tenant answers the other."""
    cache = ResultCache()
    first, second = (CachedStore(store, cache, store_key=f"{tenant}/memories") for tenant in ("a", "b"))
    store.may_search.clear()
    running = [asyncio.create_task(each.asearch(ONE)) for each in (first, second)]
    await asyncio.sleep(0)
    store.may_search.set()
    await asyncio.gather(*running)
    assert store.search_count == 2
    await first.asearch(ONE)
    assert store.search_count == 2
    assert (cache.stats("a")["hits"], cache.stats("b")["hits"]) == (1, 0)


async def test_results_of_all_tenants_expire(store):
    """A tenant that searches no more keeps no memory."""
    cache = ResultCache(ttl_s=0.0)
    for tenant in ("a", "b", "c", "a", "a", "a"):
        await CachedStore(store, cache, store_key=f"{tenant}/memories").asearch(ONE)
    assert cache.stats()["entries"] <= 1


async def test_cached_searches_beside_writers_show_every_acknowledged_write(shared_store, cache, campaign):
    """Readers of the event loop and writers in threads run at once."""
    acknowledged = dict.fromkeys(product("ab", range(4)), 0)
    cached = CachedStore(shared_store, cache, store_key="o")
    stop = threading.Event()

    def write(space, uids):
        rng = random.Random(uids[0])  # a schedule, not a secret
        for tag in count(1):
            if stop.is_set():
                return
            uid = rng.choice(uids)
            shared_store.add(ONE, {"tag": tag, "text": "word"}, str(uid), namespace=space)
            acknowledged[space, uid] = tag
            stop.wait(rng.choice([0, 0, 0.002]))

    async def read(seed):
        rng = random.Random(seed)
        for _ in range(400 * campaign):
            space = rng.choice("ab")
            least = {uid: acknowledged[space, uid] for uid in range(4)}
            if rng.random() < 0.9:
                found = await cached.asearch(ONE, 10, namespace=space)
            else:
                found = await cached.asearch_keywords("word", 10, namespace=space)
            tags = {int(match.uid): match.metadata["tag"] for match in found}
            assert all(tags[uid] >= least[uid] for uid in least), (least, tags)

    writers = [threading.Thread(target=write, args=(space, [n, n + 2])) for space, n in product("ab", range(2))]
    for writer in writers:
        writer.start()
    try:
        await asyncio.gather(*map(read, range(8)))
    finally:
        stop.set()
        await asyncio.to_thread(lambda: [writer.join() for writer in writers])
    assert cache.stats()["hits"] > 50
    assert max(acknowledged.values()) > 10
