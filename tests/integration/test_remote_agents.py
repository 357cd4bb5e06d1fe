"""An agent of a real server, with its models, through `RemoteAgent` over both transports."""

from __future__ import annotations

import asyncio

import pytest

from super_advanced_agents import DistributedVectorStore, ExplainedMatch, RemoteAgent, Weights
from super_advanced_agents.errors import InvalidInputError


@pytest.fixture(scope="module")
def told(shared_machine):
    """Where the server is; a channel stays open, as long as gRPC's own threads and descriptors are to."""
    with shared_machine.server({"SAA_GRPC_PORT": "0"}) as client:
        key = shared_machine.key
        with DistributedVectorStore(client.told["grpc"], collection="kept", api_key=key, dim=2) as kept:
            kept.count()
            yield {**client.told, "key": key}


@pytest.fixture(params=["url", "grpc"])
def agent(request, told):
    """A remote agent of its own for each transport."""
    with RemoteAgent(told[request.param], f"far-{request.param}", api_key=told["key"]) as made:
        yield made


def test_an_agent_does_what_one_in_process_does(agent):
    """Remember, find, change, list, forget."""
    uid = agent.add_text_memory("The Louvre is a museum in Paris.", extra={"city": "Paris"}, priority=1, source="a.md")
    others = agent.add_text_memories(["Cats sleep all day.", {"text": "Rome is old.", "memory_type": "note"}])
    turns = agent.add_turns([{"speaker": "Ann", "text": "Where to?"}, {"speaker": "Bob", "text": "Oslo."}], session="s")
    assert [record.uid for record in agent.scan()] == [uid, *others, *turns]
    assert (agent.count(), agent.count({"type": "note"})) == (5, 1)
    memory = agent.get(uid)
    assert (memory.text, memory.source, memory.priority) == ("The Louvre is a museum in Paris.", "a.md", 1.0)
    assert memory.namespace
    assert agent.get("nobody") is None
    [found] = agent.search_text("art gallery", 1, weights=Weights(priority=0.1), explain=True)
    assert isinstance(found, ExplainedMatch)
    assert (found.uid, found.metadata["city"]) == (uid, "Paris")
    [found] = agent.search_text("animals", 1, filter_fn=lambda metadata: "Rome" in metadata["text"])
    assert found.uid == others[1]
    [found] = agent.hybrid_search("anything", keyword="OSLO")
    assert (found.metadata["speaker"], found.metadata["turn"], found.metadata["session"]) == ("Bob", 1, "s")
    assert agent.search_text("cats", mode="keyword")[0].uid == others[0]
    assert agent.update_memory(uid, text="The Prado is a museum in Madrid.", extra={"city": None}, source=None)
    changed = agent.get(uid)
    assert (changed.text, changed.source, "city" in changed.metadata) == (
        "The Prado is a museum in Madrid.", None, False
    )  # fmt: skip
    assert not agent.update_memory("nobody", text="x")
    assert agent.forget([uid, "nobody"]) == 1
    assert agent.forget(where={}) == 4


def test_what_cannot_be_is_refused_as_in_process(agent):
    """Here, or there, by the name of the argument."""
    for field, call in (
        ("text", lambda: agent.add_text_memory(" ")),
        ("extra", lambda: agent.add_text_memory("a", extra={"text": "b"})),
        ("top_k", lambda: agent.search_text("a", 0)),
        ("mode", lambda: agent.search_text("a", mode="odd")),
        ("rerank", lambda: agent.search_text("a", rerank=lambda query, matches: [])),
        ("question", lambda: agent.ask("")),
        ("limit", lambda: agent.scan(limit=0)),
        ("uids", lambda: agent.forget("a")),
    ):
        with pytest.raises(InvalidInputError) as raised:
            call()
        assert raised.value.field == field
    with pytest.raises(InvalidInputError):
        agent.forget()


async def test_answers_come_whole_or_in_pieces(agent):
    """From the same memories; many at once; and one that is left early disturbs nobody."""
    await agent.aadd_text_memory("The Louvre is in Paris.")
    answer = await agent.aask("Where is the Louvre?", 1)
    assert answer.sources[0].metadata["text"] == "The Louvre is in Paris."
    pieces = [piece async for piece in agent.astream_answer("Where is the Louvre?", 1)]
    assert "".join(pieces).strip() == answer.text
    left = agent.astream_answer("Where is the Louvre?")
    await anext(left)
    await left.aclose()
    again = await asyncio.gather(*(agent.aask("Where is the Louvre?", 1) for _ in range(3)))
    assert [each.sources for each in again] == [answer.sources] * 3
    assert all("Paris" in each.text for each in again)  # side by side, the model's numbers differ in their last bits
