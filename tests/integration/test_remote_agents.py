"""A `RemoteAgent` uses an agent of a real server with its models, over REST and gRPC."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from super_advanced_agents import DistributedVectorStore, ExplainedMatch, Memory, Relocation, RemoteAgent, Weights
from super_advanced_agents.errors import InvalidInputError


@pytest.fixture(scope="module")
def server_info(shared_machine):
    """Yield the addresses and the key of a server.

    A gRPC channel stays open, so that gRPC's own threads and descriptors do not count as leaks of a test.
    """
    with shared_machine.server({"SAA_GRPC_PORT": "0"}) as client:
        key = shared_machine.key
        with DistributedVectorStore(client.startup_info["grpc"], collection="kept", api_key=key, dim=2) as open_store:
            open_store.count()
            yield {**client.startup_info, "key": key}


@pytest.fixture(params=["url", "grpc"])
def agent(request, server_info):
    """Yield a remote agent of its own for each transport."""
    with RemoteAgent(server_info[request.param], f"far-{request.param}", api_key=server_info["key"]) as remote_agent:
        yield remote_agent


def test_remote_agent_adds_searches_updates_lists_and_forgets_memories(agent):
    """Arguments and results are those of an agent in process."""
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


def test_remote_agent_filters_by_source_and_time_and_leaves_noise_out(agent):
    """A `datetime` is sent as a time; a limit of similarity holds in every mode."""
    uid = agent.add_text_memory("The ferry leaves at nine.", source="trips/log.md")
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    where = {"$source": "trips/log.md", "$created_at": {"$gte": hour_ago}}
    [found] = agent.search_text("ferry", where=where, min_similarity=0.3)
    assert (found.uid, found.source, found.similarity >= 0.3) == (uid, "trips/log.md", True)
    assert agent.count({"$created_at": {"$lt": hour_ago}}) == 0
    for mode in ("hybrid", "vector", "keyword"):
        assert agent.search_text("Which enzyme breaks down nine sugars?", mode=mode, min_similarity=0.4) == []
    assert agent.hybrid_search("enzymes", keyword="nine", min_similarity=0.4) == []
    assert agent.ask("Which enzyme breaks down nine sugars?", min_similarity=0.4).sources == []
    assert agent.forget(where=where) == 1


def test_remote_agent_raises_invalid_input_with_the_arguments_name(agent):
    """The client or the server checks the argument; both raise the error of an agent in process."""
    for field, call in (
        ("text", lambda: agent.add_text_memory(" ")),
        ("extra", lambda: agent.add_text_memory("a", extra={"text": "b"})),
        ("top_k", lambda: agent.search_text("a", 0)),
        ("mode", lambda: agent.search_text("a", mode="odd")),
        ("min_similarity", lambda: agent.search_text("a", min_similarity=2)),
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


async def test_remote_agent_answers_whole_streamed_and_concurrently(agent):
    """A stream that the caller closes early disturbs no later answer."""
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
    *_, last = [event async for event in agent.aask_events("Where is the Louvre?", 1)]
    assert (last.grounded, last.unsupported) == (answer.grounded, answer.unsupported)
    history = [{"role": "user", "content": "I like museums."}]
    quoted = await agent.aask("Where?", 1, history=history, instructions="Be brief.", where={"type": "fact"}, llm=False)
    assert (quoted.quoted, quoted.sources[0].text) == (True, "The Louvre is in Paris.")
    with pytest.raises(TypeError):
        await agent.aask("Where?", tok_k=1)
    assert all("Paris" in each.text for each in again)  # side by side, the model's numbers differ in their last bits


def test_remote_agent_relocates_memories_and_lists_them_with_vectors(agent):
    """Places change, and texts and vectors stay."""
    agent.add_text_memories([Memory(text="We go to Oslo.", uid="plan", extra={"lines": [1, 2]}, source="a.md")])
    [before] = agent.scan({"$uid": "plan"}, with_vectors=True)
    assert len(before.vector) == 384
    relocation = Relocation(uid="plan", source="b.md", session="trip", extra={"lines": None}, created_at=5.5)
    assert agent.relocate_memories([relocation, Relocation(uid="nobody")]) == 1
    [after] = agent.scan({"$uid": "plan"}, with_vectors=True)
    assert (after.source, after.session, after.created_at) == ("b.md", "trip", 5.5)
    assert after.metadata == {"text": "We go to Oslo.", "type": "fact", "session": "trip"}
    assert (after.vector == before.vector).all()
    assert not len(agent.get("plan").vector)
    with pytest.raises(InvalidInputError) as caught:
        agent.relocate_memories([Relocation(uid="plan", extra={"type": "x"})])
    assert caught.value.field == "relocations[0].extra"


def test_remote_agent_orders_the_turns_of_a_session_longer_than_one_request(server_info):
    """Turns that were put in last get their positions, though each request has 1,000 at most."""
    with RemoteAgent(server_info["url"], "long", api_key=server_info["key"]) as agent:
        uids = [f"t{n:04}" for n in range(1_300)]
        late = uids[3:1_300:400]
        for some in ([uid for uid in uids if uid not in late], late):
            agent.add_text_memories([Memory(text=f"turn {uid}", uid=uid, session="s") for uid in some])
        assert agent.relocate_memories(order=uids) > 0
        assert agent.relocate_memories(order=uids) == 0


@pytest.mark.parametrize("transport", ["url", "grpc"])
def test_program_ends_although_it_never_closes_its_agent(server_info, transport):
    """The agent is a local variable of a function that has returned."""
    program = """
import sys
from super_advanced_agents import RemoteAgent

def count():
    return RemoteAgent(sys.argv[1], "never-closed", api_key=sys.argv[2]).count()

print(count())
"""
    command = [sys.executable, "-c", program, server_info[transport], server_info["key"]]
    ended = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    assert ended.stdout == "0\n"
