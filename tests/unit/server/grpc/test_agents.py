"""Agents over gRPC, with the real models."""

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


def _remember(agent="ann", **given):
    made = [encode(memory, messages.Memory) for memory in MEMORIES]
    return messages.RememberRequest(agent=agent, memories=made, **given)


async def test_an_agent_remembers_finds_changes_and_forgets(caller):
    """Every method of the service, once."""
    uids = list((await caller.ask(methods.REMEMBER, _remember())).uids)
    assert uids[0] == "louvre"
    asked = messages.SearchMemoriesRequest(agent="ann", query="art gallery", top_k=1, explain=True)
    [match] = [match_of(each) for each in (await caller.ask(methods.SEARCH_MEMORIES, asked)).results]
    assert (match.uid, match.metadata["city"]) == ("louvre", "Paris")
    assert match.explanation.total == pytest.approx(match.score)
    change = messages.UpdateMemoryRequest(agent="ann", uid="louvre", extra=b'{"city":null}', clear=["priority"])
    assert (await caller.ask(methods.UPDATE_MEMORY, change)).updated
    found = await caller.ask(methods.GET_MEMORY, messages.GetMemoryRequest(agent="ann", uid="louvre"))
    assert (found.memory.vector, found.memory.HasField("priority")) == (b"", False)
    assert b"Paris" in found.memory.metadata
    assert b"city" not in found.memory.metadata
    nobody = messages.GetMemoryRequest(agent="ann", uid="nobody")
    assert not (await caller.ask(methods.GET_MEMORY, nobody)).HasField("memory")
    page = await caller.ask(methods.LIST_MEMORIES, messages.ListMemoriesRequest(agent="ann"))
    assert {record.uid for record in page.memories} == set(uids)
    turns = [encode(Turn(speaker="Ann", text=text), messages.Turn) for text in ("Where to?", "The Louvre!")]
    said = messages.RememberTurnsRequest(agent="ann", turns=turns, session="trip")
    assert len((await caller.ask(methods.REMEMBER_TURNS, said)).uids) == 2
    typed = messages.CountMemoriesRequest(agent="ann", where=b'{"type":"turn"}')
    assert (await caller.ask(methods.COUNT_MEMORIES, typed)).count == 2
    gone = messages.ForgetRequest(agent="ann", where=b"{}")
    assert (await caller.ask(methods.FORGET, gone)).deleted == 4
    # The default agent is another one, which knows nothing and so asks no model.
    answer = await caller.ask(methods.ASK, messages.AskRequest(question="Where is the Louvre?"))
    assert answer.text
    assert not answer.sources


async def test_reranked_search_waits_for_a_permit_of_answers_not_of_searches(caller, services):
    """While the language model is busy with others, searches without it go on, and one with it is refused."""
    await caller.ask(methods.REMEMBER, _remember())
    plain = messages.SearchMemoriesRequest(agent="ann", query="art gallery", top_k=1)
    reranked = messages.SearchMemoriesRequest(agent="ann", query="art gallery", top_k=1, rerank=True)
    busy = services.admission.queue(PermitKind.GENERATE)
    async with AsyncExitStack() as held:
        for _ in range(busy.permits):
            await held.enter_async_context(services.admission.enter(PermitKind.GENERATE))
        assert (await caller.ask(methods.SEARCH_MEMORIES, plain)).results
        status, problem, _ = await caller.refusal(methods.SEARCH_MEMORIES, reranked)
        assert (status, problem["error"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OverloadedError")
    assert (busy.in_flight, services.admission.queue(PermitKind.SEARCH).in_flight) == (0, 0)


async def test_an_answer_comes_in_pieces(caller):
    """Its sources first, the whole of it last."""
    await caller.ask(methods.REMEMBER, _remember())
    question = messages.AskRequest(agent="ann", question="Where is the Louvre?", top_k=1, answer_tokens=8)
    events = await caller.ask(methods.ASK_STREAM, question)
    kinds = [event.WhichOneof("event") for event in events]
    assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("sources", "done", {"text"})
    assert [match.uid for match in events[0].sources.matches] == ["louvre"]
    assert "".join(event.text for event in events).strip() == events[-1].done
    assert (await caller.ask(methods.ASK, question)).text == events[-1].done


async def test_agents_are_given_settings(caller):
    """And take the defaults again."""
    put = messages.PutAgentRequest(name="ann", description="knows museums", answer_tokens=50)
    made = await caller.ask(methods.PUT_AGENT, put)
    assert (made.name, made.namespace, made.answer_tokens, made.declared) == ("ann", "ann", 50, False)
    [listed] = (await caller.ask(methods.LIST_AGENTS, messages.ListAgentsRequest())).agents
    assert listed == made == await caller.ask(methods.GET_AGENT, messages.GetAgentRequest(name="ann"))
    await caller.ask(methods.DELETE_AGENT, messages.DeleteAgentRequest(name="ann"))
    for method in (methods.GET_AGENT, methods.DELETE_AGENT):
        code, problem, _ = await caller.refusal(method, method.request(name="ann"))
        assert (code, problem["error"]) == (grpc.StatusCode.NOT_FOUND, "AgentNotFoundError")


@pytest.mark.parametrize(
    ("method", "given", "field"),
    [
        (methods.REMEMBER, {"memories": [{"text": "a"}, {"text": " "}]}, "memories[1].text"),
        (methods.REMEMBER, {"memories": [{"text": "a", "extra": b"[1]"}]}, "memories[0].extra"),
        (methods.REMEMBER, {"memories": [{"text": "a", "extra": b'{"text":1}'}]}, "memories[0].extra"),
        (methods.REMEMBER, {"memories": [{"text": "a", "expires_in_s": -1}]}, "memories[0].expires_in_s"),
        (methods.REMEMBER, {"memories": [{"text": "a"}] * 1_001}, "memories"),
        (methods.REMEMBER, {"agent": "../x"}, "agent"),
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
        (methods.PUT_AGENT, {"name": "a b"}, "agent"),
    ],
)
async def test_what_is_malformed_is_named(caller, method, given, field):
    """As the message calls it."""
    code, problem, _ = await caller.refusal(method, method.request(**given))
    assert (code, problem["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, field), problem
