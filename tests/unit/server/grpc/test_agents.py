"""Test the agent service over gRPC, with the real models."""

from __future__ import annotations

from contextlib import AsyncExitStack

import grpc
import pytest

from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.codec import encode
from super_advanced_agents.protocol.match_messages import match_of
from super_advanced_agents.protocol.operations import PermitKind
from super_advanced_agents.protocol.v1 import agents_pb2 as messages
from super_advanced_agents.types import Memory, Turn

MEMORIES = [
    Memory(text="The Louvre is a museum in Paris", extra={"city": "Paris"}, uid="louvre", priority=1.0),
    Memory(text="Cats sleep most of the day", memory_type="habit", source="book"),
]


def _remember_request(agent="ann", **fields):
    memories = [encode(memory, messages.Memory) for memory in MEMORIES]
    return messages.RememberRequest(agent=agent, memories=memories, **fields)


async def test_agent_service_carries_out_every_memory_method(caller):
    """Each method is called once, and its effect is read back."""
    uids = list((await caller.invoke(methods.REMEMBER, _remember_request())).uids)
    assert uids[0] == "louvre"
    search = messages.SearchMemoriesRequest(agent="ann", query="art gallery", top_k=1, explain=True)
    [match] = [match_of(each) for each in (await caller.invoke(methods.SEARCH_MEMORIES, search)).results]
    assert (match.uid, match.metadata["city"]) == ("louvre", "Paris")
    assert match.explanation.total == pytest.approx(match.score)
    change = messages.UpdateMemoryRequest(agent="ann", uid="louvre", extra=b'{"city":null}', clear=["priority"])
    assert (await caller.invoke(methods.UPDATE_MEMORY, change)).updated
    found = await caller.invoke(methods.GET_MEMORY, messages.GetMemoryRequest(agent="ann", uid="louvre"))
    assert (found.memory.vector, found.memory.HasField("priority")) == (b"", False)
    assert b"Paris" in found.memory.metadata
    assert b"city" not in found.memory.metadata
    unknown = messages.GetMemoryRequest(agent="ann", uid="nobody")
    assert not (await caller.invoke(methods.GET_MEMORY, unknown)).HasField("memory")
    page = await caller.invoke(methods.LIST_MEMORIES, messages.ListMemoriesRequest(agent="ann"))
    assert {record.uid for record in page.memories} == set(uids)
    turns = [encode(Turn(speaker="Ann", text=text), messages.Turn) for text in ("Where to?", "The Louvre!")]
    turns_request = messages.RememberTurnsRequest(agent="ann", turns=turns, session="trip")
    assert len((await caller.invoke(methods.REMEMBER_TURNS, turns_request)).uids) == 2
    count = messages.CountMemoriesRequest(agent="ann", where=b'{"type":"turn"}')
    assert (await caller.invoke(methods.COUNT_MEMORIES, count)).count == 2
    forget = messages.ForgetRequest(agent="ann", where=b"{}")
    assert (await caller.invoke(methods.FORGET, forget)).deleted == 4
    # The default agent is another one: it has no memories, so it calls no model.
    answer = await caller.invoke(methods.ASK, messages.AskRequest(question="Where is the Louvre?"))
    assert answer.text
    assert not answer.sources


async def test_reranked_search_needs_a_generate_permit_and_not_a_search_permit(caller, services):
    """Without a free generate permit, a plain search succeeds and a reranked one is refused."""
    await caller.invoke(methods.REMEMBER, _remember_request())
    plain = messages.SearchMemoriesRequest(agent="ann", query="art gallery", top_k=1)
    reranked = messages.SearchMemoriesRequest(agent="ann", query="art gallery", top_k=1, rerank=True)
    busy = services.admission.pool(PermitKind.GENERATE)
    async with AsyncExitStack() as permits:
        for _ in range(busy.capacity):
            await permits.enter_async_context(services.admission.enter(PermitKind.GENERATE, "default"))
        assert (await caller.invoke(methods.SEARCH_MEMORIES, plain)).results
        status, problem, _ = await caller.refusal(methods.SEARCH_MEMORIES, reranked)
        assert (status, problem["error"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OverloadedError")
    assert (busy.in_flight, services.admission.pool(PermitKind.SEARCH).in_flight) == (0, 0)


async def test_ask_stream_sends_sources_then_pieces_then_the_whole_answer(caller):
    """`Ask` returns the same text."""
    await caller.invoke(methods.REMEMBER, _remember_request())
    question = messages.AskRequest(agent="ann", question="Where is the Louvre?", top_k=1, answer_tokens=8)
    events = await caller.invoke(methods.ASK_STREAM, question)
    kinds = [event.WhichOneof("event") for event in events]
    assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("sources", "done", {"text"})
    assert [match.uid for match in events[0].sources.matches] == ["louvre"]
    assert "".join(event.text for event in events).strip() == events[-1].done
    assert (events[-1].HasField("grounded"), events[-1].quoted) == (True, False)
    answer = await caller.invoke(methods.ASK, question)
    assert (answer.text, answer.grounded) == (events[-1].done, events[-1].grounded)


async def test_ask_takes_instructions_history_and_no_language_model(caller):
    """A wrong message of the history is named."""
    await caller.invoke(methods.REMEMBER, _remember_request())
    question = {"agent": "ann", "question": "Where?", "instructions": "Be brief.", "llm": False, "top_k": 1}
    before = messages.ChatMessage(role="user", content="I like the Louvre.")
    answer = await caller.invoke(methods.ASK, messages.AskRequest(**question, history=[before]))
    assert ([match.uid for match in answer.sources], answer.quoted) == (["louvre"], True)
    wrong = messages.AskRequest(**question, history=[messages.ChatMessage(role="tool", content="x")])
    status, problem, _ = await caller.refusal(methods.ASK, wrong)
    assert (status, problem["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "history[0].role")


async def test_agent_settings_are_put_listed_and_deleted(caller):
    """A deleted agent is answered NOT_FOUND."""
    put = messages.PutAgentRequest(name="ann", description="knows museums", answer_tokens=50)
    settings = await caller.invoke(methods.PUT_AGENT, put)
    assert (settings.name, settings.namespace, settings.answer_tokens, settings.declared) == ("ann", "ann", 50, False)
    [listed] = (await caller.invoke(methods.LIST_AGENTS, messages.ListAgentsRequest())).agents
    assert listed == settings == await caller.invoke(methods.GET_AGENT, messages.GetAgentRequest(name="ann"))
    await caller.invoke(methods.DELETE_AGENT, messages.DeleteAgentRequest(name="ann"))
    for method in (methods.GET_AGENT, methods.DELETE_AGENT):
        code, problem, _ = await caller.refusal(method, method.request(name="ann"))
        assert (code, problem["error"]) == (grpc.StatusCode.NOT_FOUND, "AgentNotFoundError")


@pytest.mark.parametrize(
    ("method", "fields", "field"),
    [
        (methods.REMEMBER, {"memories": [{"text": "a"}, {"text": " "}]}, "memories[1].text"),
        (methods.REMEMBER, {"memories": [{"text": "a", "extra": b"[1]"}]}, "memories[0].extra"),
        (methods.REMEMBER, {"memories": [{"text": "a", "extra": b'{"text":1}'}]}, "memories[0].extra"),
        (methods.REMEMBER, {"memories": [{"text": "a", "expires_in_s": -1}]}, "memories[0].expires_in_s"),
        (methods.REMEMBER, {"memories": [{"text": "a"}] * 1_001}, "memories"),
        (methods.REMEMBER, {"agent": "x\n"}, "agent"),
        (methods.REMEMBER_TURNS, {"turns": [{"speaker": "", "text": "a"}]}, "turns[0].speaker"),
        (methods.SEARCH_MEMORIES, {"query": ""}, "query"),
        (methods.SEARCH_MEMORIES, {"query": "a", "mode": 9}, "mode"),
        (methods.SEARCH_MEMORIES, {"query": "a", "weights": {"vector": -1}}, "weights.vector"),
        (methods.ASK, {"question": " "}, "question"),
        (methods.ASK_STREAM, {"question": " "}, "question"),
        (methods.ASK, {"question": "a", "answer_tokens": 0}, "answer_tokens"),
        (methods.UPDATE_MEMORY, {"uid": "a", "extra": b'{"type":1}'}, "extra"),
        (methods.FORGET, {}, "uids"),
        (methods.PUT_AGENT, {"name": "a", "answer_tokens": 0}, "answer_tokens"),
        (methods.PUT_AGENT, {"name": "a\tb"}, "agent"),
    ],
)
async def test_malformed_agent_request_names_its_field(caller, method, fields, field):
    """The name is that of the field in the message."""
    code, problem, _ = await caller.refusal(method, method.request(**fields))
    assert (code, problem["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, field), problem
