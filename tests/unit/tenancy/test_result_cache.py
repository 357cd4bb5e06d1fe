"""Equal questions are answered from memory, and never with anything that is out of date."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from itertools import count, product

import numpy as np
import pytest

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import FilterError, InvalidInputError
from super_advanced_agents.stores.requests import Bounds, HybridSearchRequest, KeywordSearchRequest, SearchRequest
from super_advanced_agents.tenancy.context import ANYBODY, RequestContext, active_context
from super_advanced_agents.tenancy.result_cache import NO_CACHE, ResultCache, key_of
from super_advanced_agents.tenancy.store_wrappers import CachedStore
from super_advanced_agents.types import ExplainedMatch, Weights

DIM = 8
ONE = np.ones(DIM, dtype=np.float32)


class Counted(FAISSVectorStore):
    """Counts the searches that reach it, and holds each until it is let go."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def _execute(self, request):
        if isinstance(request, SearchRequest | HybridSearchRequest | KeywordSearchRequest):
            self.asked += 1
            self.entered.set()
            await self.gate.wait()
        return await super()._execute(request)


@pytest.fixture
def store():
    with Counted(DIM) as opened:
        opened.add(ONE, {"text": "one", "deep": {"list": [1, {"x": 2}]}}, "u", namespace="a")
        yield opened


@pytest.fixture
def written():
    """A store that threads write to: two namespaces of four records."""
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


async def test_an_equal_question_reaches_the_store_once(store, cache, cached):
    """By each of the three ways of searching, and with scores and explanations as they were found."""
    ways = [
        lambda: cached.asearch(ONE, namespace="a", where={"text": "one"}),
        lambda: cached.asearch_hybrid(ONE, "one", namespace="a", explain=True),
        lambda: cached.asearch_keywords("one", namespace="a"),
    ]
    for n, way in enumerate(ways, start=1):
        first = await way()
        assert await way() == first
        assert store.asked == n
    assert isinstance(first := (await ways[1]())[0], ExplainedMatch)
    assert first.explanation.signals
    assert cache.stats() == {"entries": 3, "hits": 4, "misses": 3, "shared": 0, "bypassed": 0}


async def test_any_other_question_is_another(store, cached):
    """Everything that a result depends on tells questions apart."""
    given = {"namespace": "a", "where": {"n": 1}, "top_k": 5, "model_id": None, "explain": False, "weights": None}
    others = [{"namespace": "b"}, {"where": {"n": 1.5}}, {"where": None}, {"top_k": 6}, {"explain": True}]
    others += [{"weights": Weights(nearby=0.1)}, {"model_id": "m"}, {}]
    for other in others:
        await cached.asearch_hybrid(ONE, "one", **{**given, **other})
    await cached.asearch_hybrid(ONE, "two", **given)
    await cached.asearch_hybrid(ONE * 2, "one", **given)
    await cached.asearch(ONE, namespace="a")
    await cached.asearch(ONE, namespace="a", return_scores=False)
    await CachedStore(store, cached._cache, store_key="bolt/memories").asearch_hybrid(ONE, "one", **given)
    assert store.asked == len(others) + 5


async def test_a_write_is_seen_at_once(store, cached):
    """An acknowledged write is in the next answer; a write elsewhere leaves what is kept."""
    assert len(await cached.asearch(ONE, namespace="a")) == 1
    await cached.aadd(ONE, uid="v", namespace="a")
    assert len(await cached.asearch(ONE, namespace="a")) == 2
    await cached.adelete(["u"], namespace="a")
    assert [match.uid for match in await cached.asearch(ONE, namespace="a")] == ["v"]
    asked = store.asked
    await cached.aadd(ONE, namespace="b")
    await cached.asearch(ONE, namespace="a")
    assert store.asked == asked


async def test_what_expires_is_not_shown_again(store, cached, monkeypatch):
    """Not for a moment, though nobody wrote."""
    await cached.aadd(ONE, uid="v", namespace="a", expires_in_s=100.0)
    assert len(await cached.asearch(ONE, namespace="a")) == 2
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 101.0)
    assert [match.uid for match in await cached.asearch(ONE, namespace="a")] == ["u"]


async def test_a_search_that_a_write_overtakes_is_not_kept(store, cached):
    """What it finds may be of before or after the write."""
    store.gate.clear()
    search = asyncio.ensure_future(cached.asearch(ONE, namespace="a"))
    await store.entered.wait()
    await cached.aadd(ONE, uid="v", namespace="a")
    store.gate.set()
    await search
    assert cached._cache.stats()["entries"] == 0


async def test_results_are_their_callers_own(cached):
    """What one does to its matches, no other sees, however deep."""
    for _ in range(3):
        [match] = await cached.asearch(ONE, namespace="a")
        assert match.metadata == {"text": "one", "deep": {"list": [1, {"x": 2}]}}
        match.metadata["deep"]["list"][1]["x"] = "changed"
        match.metadata["deep"]["list"].append("changed")
        match.metadata["text"] = "changed"


async def test_equal_questions_at_once_share_one_search(store, cache, cached):
    """Each gets a result of its own."""
    store.gate.clear()
    searches = [asyncio.ensure_future(cached.asearch(ONE, namespace="a")) for _ in range(5)]
    await store.entered.wait()
    store.gate.set()
    found = await asyncio.gather(*searches)
    assert store.asked == 1
    found[0][0].metadata.clear()
    assert all(matches[0].metadata["text"] == "one" for matches in found[1:])
    assert cache.stats()["shared"] == 4


@pytest.mark.parametrize("who", ["first", "second"])
async def test_a_cancelled_caller_disturbs_no_other(store, cached, who):
    """Be it the one that searches, or one that waits for it."""
    store.gate.clear()
    searches = [asyncio.ensure_future(cached.asearch(ONE, namespace="a")) for _ in range(3)]
    await store.entered.wait()
    await asyncio.sleep(0)
    gone = searches.pop(0 if who == "first" else 1)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    store.gate.set()
    assert all(len(found) == 1 for found in await asyncio.gather(*searches))
    assert not cached._cache._searches


async def test_a_call_may_ask_for_a_fresh_answer(store, cached):
    """`no_cache` searches whatever is kept, and what it finds is kept."""
    await cached.asearch(ONE, namespace="a")
    with active_context(RequestContext(principal=ANYBODY, notes={NO_CACHE: True})):
        await cached.asearch(ONE, namespace="a")
    assert store.asked == 2
    await cached.asearch(ONE, namespace="a")
    assert store.asked == 2


async def test_what_depends_on_time_or_code_is_not_kept(store, cached):
    """Recency and predicates; large batches and large results neither."""
    for _ in range(2):
        await cached.asearch_hybrid(ONE, "one", namespace="a", weights=Weights(recency=0.5))
        await cached.asearch_with_filter(ONE, 5, lambda _: True, namespace="a")
        await cached.asearch_batch([ONE] * 17, namespace="a")
    await cached.aadd_batch([ONE] * 3, [{"text": "x" * 30_000}] * 3, namespace="big")
    await cached.asearch(ONE, namespace="big")
    assert cached._cache.stats()["entries"] == 0


async def test_wrong_questions_fail_as_they_do_without_a_cache(cached):
    """Each time anew."""
    for _ in range(2):
        with pytest.raises(FilterError):
            await cached.asearch(ONE, namespace="a", where={"n": {"$no": 1}})
        with pytest.raises(InvalidInputError):
            await cached.asearch([1.0, "x"], namespace="a")
        with pytest.raises(InvalidInputError):
            await cached.asearch(ONE, namespace="a/b")


def test_a_key_holds_every_field_that_a_search_was_given():
    """Equal searches share one whatever the order of a filter's keys; each other field makes another."""
    bounds = Bounds(dim=DIM)

    def key(store_key="o", kind=SearchRequest, **given):
        return key_of(store_key, kind(bounds=bounds, **{"query_vectors": [ONE], **given}))

    assert key(where={"a": 1, "b": 2}) == key(where={"b": 2, "a": 1})
    others = [
        key(), key("p"), key(where={}), key(where={"n": None}), key(where={"n": 1}), key(where={"n": "1"}),
        key(top_k=6), key(namespace="a"), key(model_id="a"), key(return_scores=False), key(query_vectors=[ONE, ONE]),
    ]  # fmt: skip
    assert len(set(others)) == len(others)


async def test_memory_is_bounded(store):
    """The least recently used result leaves; with room for none nothing is kept."""
    small, none = ResultCache(max_entries=2), ResultCache(max_entries=0)
    for cache in (small, none):
        cached = CachedStore(store, cache, store_key="o")
        for k in (1, 2, 1, 3, 1):
            await cached.asearch(ONE, k, namespace="a")
    assert (small.stats()["entries"], small.stats()["hits"]) == (2, 2)
    assert (none.stats()["entries"], none.stats()["bypassed"]) == (0, 5)


async def test_readers_beside_writers_never_see_anything_old(written, cache, campaign):
    """Once a write is acknowledged, every answer that is asked for shows it, whoever asks and however it is kept."""
    told = dict.fromkeys(product("ab", range(4)), 0)
    cached = CachedStore(written, cache, store_key="o")
    stop = threading.Event()

    def write(space, uids):
        rng = random.Random(uids[0])  # a schedule, not a secret
        for tag in count(1):
            if stop.is_set():
                return
            uid = rng.choice(uids)
            written.add(ONE, {"tag": tag, "text": "word"}, str(uid), namespace=space)
            told[space, uid] = tag
            stop.wait(rng.choice([0, 0, 0.002]))

    async def read(seed):
        rng = random.Random(seed)
        for _ in range(400 * campaign):
            space = rng.choice("ab")
            least = {uid: told[space, uid] for uid in range(4)}
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
    assert max(told.values()) > 10
