"""Test agents over a real store, a real embedding model and a real language model."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from super_advanced_agents import AsyncLLMAgent, FAISSVectorStore, LLMAgent, Memory
from super_advanced_agents.errors import InvalidInputError, ModelMismatchError, ResourceClosedError

FACTS = ["The Louvre is a museum in Paris.", "Bread is baked in an oven.", "Python is a programming language."]


@pytest.fixture
def store():
    with FAISSVectorStore(dim=384) as opened:
        yield opened


@pytest.fixture
def agent(store, embedder):
    return AsyncLLMAgent("tester", store, embedder)


async def test_search_text_returns_the_memory_nearest_in_meaning_first(agent):
    """A match has text, type, score and uid."""
    uids = [await agent.aadd_text_memory(fact) for fact in FACTS]
    best, *rest = await agent.asearch_text("an art gallery in France", top_k=3)
    assert best.metadata == {"text": FACTS[0], "type": "fact"}
    assert best.uid == uids[0]
    assert 1 >= best.score >= max(match.score for match in rest)


async def test_add_text_memories_returns_uids_in_the_order_of_its_items(agent):
    """The items fill several batches."""
    items = [Memory(text=f"note {i}", uid=f"n{i}", memory_type="note") for i in range(1_003)]
    assert await agent.aadd_text_memories(items) == [f"n{i}" for i in range(1_003)]
    assert await agent.acount({"type": "note"}) == 1_003
    assert (await agent.aget("n1002")).text == "note 1002"


async def test_dedupe_exact_stores_an_equal_memory_once(agent):
    """Type and extra metadata decide too, and the lifetime does not."""
    uid = await agent.aadd_text_memory(FACTS[0], extra={"by": "Ann"})
    assert await agent.aadd_text_memory(FACTS[0], extra={"by": "Ann"}, expires_in_s=60, dedupe="exact") == uid
    items = [Memory(text=FACTS[0], extra={"by": "Ann"}), FACTS[0], Memory(text=FACTS[0], memory_type="note"), FACTS[0]]
    uids = await agent.aadd_text_memories(items, dedupe="exact")
    assert (uids[0], uids[1] == uids[3], len({*uids})) == (uid, True, 3)
    assert await agent.acount() == 3


async def test_update_memory_changes_only_the_named_fields(agent):
    """A new text is found by its meaning."""
    uid = await agent.aadd_text_memory(FACTS[0], extra={"by": "Ann", "day": 1}, source="guide", priority=2)
    await agent.aadd_text_memory(FACTS[1])
    assert await agent.aupdate_memory(uid, text="Whales sing under water.", extra={"day": None, "year": 1987})
    best, _ = await agent.asearch_text("songs of sea animals", mode="vector")
    assert (best.uid, best.metadata) == (
        uid, {"text": "Whales sing under water.", "type": "fact", "by": "Ann", "year": 1987}
    )  # fmt: skip
    assert await agent.aupdate_memory(uid, memory_type="note", priority=None, expires_in_s=900)
    record = await agent.aget(uid)
    assert (record.metadata["type"], record.priority, record.source) == ("note", None, "guide")
    assert record.expires_at == pytest.approx(record.updated_at + 900)
    assert not await agent.aupdate_memory("nobody", text="Something.")
    for invalid in (
        {"text": " "},
        {"memory_type": ""},
        {"extra": {"text": "x"}},
        {"extra": {"session": "x"}},
        {"extra": 5},
    ):
        with pytest.raises(InvalidInputError):
            await agent.aupdate_memory(uid, **invalid)


async def test_agent_raises_model_mismatch_for_memories_of_another_embedding_model(agent, store):
    """Each comparison of vectors names the command to run; a keyword search still works."""
    await store.aadd([1.0] * 384, {"text": FACTS[0]}, namespace="tester", model_id="another/model")
    for call in (
        agent.asearch_text("museum"),
        agent.asearch_text("museum", mode="vector"),
        agent.asearch_text("museum", filter_fn=bool),
        agent.aadd_text_memory(FACTS[1]),
        agent.aadd_turns([{"speaker": "A", "text": "b"}]),
    ):
        with pytest.raises(ModelMismatchError, match=r"another/model.*all-MiniLM.*saa reembed"):
            await call
    assert [match.metadata["text"] for match in await agent.asearch_text("museum", mode="keyword")] == [FACTS[0]]


async def test_added_memories_keep_their_priority(agent):
    """This holds for one memory and for many."""
    uid = await agent.aadd_text_memory(FACTS[0], priority=0.5)
    uids = await agent.aadd_text_memories([Memory(text=FACTS[1], priority=2), FACTS[2]])
    assert [(await agent.aget(each)).priority for each in (uid, *uids)] == [0.5, 2.0, None]


async def test_add_text_memories_stores_nothing_when_one_item_is_invalid(agent):
    """All items are validated before the first is stored."""
    with pytest.raises(InvalidInputError) as caught:
        await agent.aadd_text_memories(["fine", "also fine", ""])
    assert caught.value.field == "items[2].text"
    assert await agent.acount() == 0


async def test_agents_see_only_the_memories_of_their_namespace(store, embedder):
    """Two agents on one store are separated by name and joined by namespace, in every operation."""
    ann, bob = AsyncLLMAgent("ann", store, embedder), AsyncLLMAgent("bob", store, embedder)
    friend = AsyncLLMAgent("friend", store, embedder, namespace="ann")
    uid = await ann.aadd_text_memory("Ann's secret is blue.", uid="secret")
    await bob.aadd_text_memory("Bob's secret is red.", uid="secret")
    assert [match.metadata["text"] for match in await bob.asearch_text("secret")] == ["Bob's secret is red."]
    assert [match.metadata["text"] for match in await friend.asearch_text("secret")] == ["Ann's secret is blue."]
    assert await bob.aforget([uid], where={"text": "Ann's secret is blue."}) == 0
    assert await bob.aforget(where={}) == 1
    assert (await ann.aget("secret")).text == "Ann's secret is blue."
    assert await bob.aget("secret") is None
    assert [record.uid for record in await friend.ascan()] == ["secret"]


async def test_search_text_applies_memory_type_where_and_filter_fn_together(agent):
    """A match satisfies all of them."""
    for i, fact in enumerate(FACTS):
        await agent.aadd_text_memory(fact, "fact" if i else "place", extra={"n": i})
    assert [m.metadata["n"] for m in await agent.asearch_text("museum", memory_type="fact", top_k=1)] != [0]
    assert [m.metadata["n"] for m in await agent.asearch_text("museum", where={"n": {"$gte": 2}})] == [2]
    found = await agent.asearch_text("museum", 5, "fact", lambda metadata: metadata["n"] < 2)
    assert [match.metadata["n"] for match in found] == [1]


async def test_hybrid_search_returns_only_memories_that_contain_the_keyword(agent):
    """Case does not matter, and a keyword of None matches all."""
    await agent.aadd_text_memories(FACTS)
    assert [m.metadata["text"] for m in await agent.ahybrid_search("museum", "PYTHON")] == [FACTS[2]]
    assert await agent.ahybrid_search("museum", "nowhere to be found") == []
    assert len(await agent.ahybrid_search("museum", None, 2)) == 2


async def test_added_turns_can_be_searched_filtered_and_scanned_by_session(agent):
    """A scan has the turns of the session, the latest first."""
    uids = await agent.aadd_turns(
        [{"speaker": "Ann", "text": "I adopted a cat.", "uid": "d1"}, {"speaker": "Bob", "text": "What is her name?"}],
        session="monday",
    )
    assert uids[0] == "d1"
    [best, *_] = await agent.asearch_text("Who has a pet?", where={"session": "monday"})
    assert best.metadata["text"] == "Ann: I adopted a cat."
    assert [record.metadata["turn"] for record in await agent.ascan({"session": "monday"})] == [1, 0]


async def test_expired_memory_is_not_searched_got_counted_or_scanned(agent, monkeypatch):
    """Before its time it is there."""
    import time

    await agent.aadd_text_memory("The parcel arrives today.", uid="p", expires_in_s=3_600, source="mail")
    assert (await agent.aget("p")).source == "mail"
    later = time.time() + 3_601
    monkeypatch.setattr(time, "time", lambda: later)
    assert await agent.asearch_text("parcel") == []
    assert (await agent.aget("p"), await agent.acount(), await agent.ascan()) == (None, 0, [])


@pytest.mark.parametrize("query", ["", "  ", "a\0b", "\ud800", 3])
async def test_search_text_refuses_an_invalid_query(agent, query):
    """The rules are those of a memory's text."""
    with pytest.raises(InvalidInputError):
        await agent.asearch_text(query)


async def test_search_text_refuses_an_unknown_mode(agent):
    """The message lists the modes."""
    with pytest.raises(InvalidInputError, match="hybrid, vector, keyword"):
        await agent.asearch_text("museum", mode="magic")


@pytest.mark.parametrize("name", ["", "a\nb", "x\0", "x" * 257, None])
def test_agent_constructor_refuses_an_invalid_name(store, embedder, name):
    """Names have 1 to 256 characters, and no control characters."""
    with pytest.raises(InvalidInputError):
        LLMAgent(name, store, embedder)


async def test_concurrent_adds_and_searches_do_not_mix_results(agent):
    """Each of 64 callers finds its own memory."""

    async def add_and_search(i: int) -> str:
        await agent.aadd_text_memory(f"The code of locker {i} is {i * 7919}.", uid=f"locker{i}")
        [found] = await agent.asearch_text(f"locker {i}", 1, where={"text": f"The code of locker {i} is {i * 7919}."})
        return found.uid

    assert await asyncio.gather(*(add_and_search(i) for i in range(64))) == [f"locker{i}" for i in range(64)]


async def test_cancelling_half_of_the_searches_leaves_the_others_served(agent):
    """Each other search returns its match."""
    await agent.aadd_text_memories(FACTS)
    searches = [asyncio.create_task(agent.asearch_text(f"museum number {i}", 1)) for i in range(40)]
    await asyncio.sleep(0)
    for search in searches[::2]:
        search.cancel()
    results = await asyncio.gather(*searches, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    assert all(len(result) == 1 for result in results[1::2])


def test_blocking_agent_works_without_an_event_loop(store, embedder):
    """`LLMAgent` has the same operations."""
    agent = LLMAgent("sync", store, embedder)
    uid = agent.add_text_memory(FACTS[0])
    assert agent.search_text("museum", 1)[0].uid == uid
    assert agent.hybrid_search("museum", "louvre")[0].uid == uid
    assert (agent.count(), agent.get(uid).text, len(agent.scan())) == (1, FACTS[0], 1)
    assert agent.add_turns([{"speaker": "A", "text": "b"}]) == [record.uid for record in agent.scan({"type": "turn"})]
    assert agent.forget([uid]) == 1


def test_blocking_and_async_forms_have_the_same_signature():
    """All seventeen pairs of `verb` and `averb` are compared."""
    verbs = [name for name, _ in inspect.getmembers(AsyncLLMAgent, inspect.isfunction) if not name.startswith("_")]
    natives = [verb for verb in verbs if verb.startswith("a") and verb[1:] in verbs]
    assert len(natives) == 17
    for native in natives:
        signature = inspect.signature(getattr(AsyncLLMAgent, native))
        if inspect.isasyncgenfunction(getattr(AsyncLLMAgent, native)):  # the blocking form of a stream
            item = str(signature.return_annotation).removeprefix("AsyncGenerator[").partition(",")[0]
            signature = signature.replace(return_annotation=f"Iterator[{item}]")
        assert inspect.signature(getattr(LLMAgent, native[1:])) == signature


async def test_adding_a_memory_to_a_closed_store_raises_resource_closed(agent, store):
    """The agent does not own its store."""
    await store.aclose()
    with pytest.raises(ResourceClosedError):
        await agent.aadd_text_memory("too late")
