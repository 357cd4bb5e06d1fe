"""Conversations over REST, gRPC and the command line, on the real small language model."""

from __future__ import annotations

import json

import httpx2
import pytest

from super_advanced_agents import RemoteAgent
from super_advanced_agents.errors import InvalidInputError, PermissionDeniedError


@pytest.fixture(scope="module")
def server(shared_machine):
    """Run one server for the tests of this module."""
    with shared_machine.server() as client:
        while client.get("/readyz").status_code != 200:
            pass
        yield client


@pytest.fixture
def rest(server, shared_machine):
    """Yield a client of the server that sends its admin key."""
    with httpx2.Client(base_url=server.base_url, headers=shared_machine.headers, timeout=120) as client:
        yield client


@pytest.mark.parametrize("transport", ["url", "grpc"])
def test_remote_agent_holds_a_conversation(server, shared_machine, transport):
    """The second answer knows the first message; the stream ends once both turns are stored."""
    with RemoteAgent(server.startup_info[transport], f"talk/{transport}", api_key=shared_machine.key) as agent:
        first = agent.chat("My boat is called Rosinante.", "sea")
        events = list(agent.chat_events("What is the name of my boat?", session="sea"))
        assert "Rosinante" in events[-1].done
        assert events[0].sources == []
        turns = sorted(agent.scan({"$session": "sea"}), key=lambda turn: (turn.created_at, turn.metadata["turn"]))
        assert [turn.text for turn in turns] == [
            "user: My boat is called Rosinante.",
            f"assistant: {first.text}",
            "user: What is the name of my boat?",
            f"assistant: {events[-1].done}",
        ]
        agent.chat("Hello!", "sea", remember=False)
        assert agent.count() == 4
        with pytest.raises(InvalidInputError):
            agent.chat(" ")


def test_repeated_request_remembers_one_exchange(rest):
    """With an `Idempotency-Key`, over REST; the reply itself is not kept, since it shows memories."""
    body, headers = {"message": "Say hello.", "session": "once"}, {"idempotency-key": "the-same"}
    for _ in range(2):
        answer = rest.post("/v1/agents/once/chat", json=body, headers=headers).raise_for_status().json()
        assert answer["text"]
    assert rest.get("/v1/agents/once/memories:count").json() == {"count": 2}


def test_remembering_needs_the_scope_to_write(server, shared_machine):
    """Without it, a conversation is possible that is not remembered."""
    scopes = ["--scope", "memories:read", "--scope", "generate"]
    key = shared_machine.json("keys", "create", *scopes)["key"]
    for transport in ("url", "grpc"):
        with RemoteAgent(server.startup_info[transport], "reader", api_key=key) as agent:
            with pytest.raises(PermissionDeniedError):
                agent.chat("Hello!")
            with pytest.raises(PermissionDeniedError):
                next(iter(agent.chat_events("Hello!")))
            assert agent.chat("Hello!", remember=False).text
            assert agent.count() == 0


def test_stream_over_rest_is_that_of_a_question(rest):
    """Sources, pieces of text, and the whole text; a field that is unknown is refused."""
    request = {"message": "Say hello.", "session": "s", "stream": True}
    events = [line for line in rest.post("/v1/agents/streamed/chat", json=request).text.splitlines() if line]
    names = [line.removeprefix("event: ") for line in events if line.startswith("event: ")]
    assert (names[0], names[-1], set(names[1:-1])) == ("sources", "done", {"text"})
    wrong = rest.post("/v1/agents/streamed/chat", json={"message": "a", "colour": 1})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "colour")


def test_command_talks_line_by_line_and_goes_on_with_a_session(machine):
    """Blank lines are passed over, and the end of the input ends it."""
    machine.saa("chat", "--session", "sea", stdin="My boat is called Rosinante.\n\n")
    lines = machine.saa("chat", "-s", "sea", "--json", stdin="What is the name of my boat?\n").strip()
    assert "Rosinante" in json.loads(lines)["text"]
    assert machine.json("list")["memories"][0]["session"] == "sea"
    assert len(machine.json("list")["memories"]) == 4
    with machine.start("chat", "--no-llm") as process:
        _, errors = process.communicate("hello\n", timeout=60)
    assert "a chat needs a language model" in errors
    assert process.returncode != 0
