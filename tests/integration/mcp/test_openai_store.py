"""Chat completions with `store` are remembered, for the unmodified `openai` client."""

from __future__ import annotations

import asyncio

import openai
import pytest

MODEL = "maker/parrot"


@pytest.fixture
def openai_key(keyed_server):
    """Return a key of its own, whose allowance other tests do not measure."""
    return keyed_server.author


def _user(text):
    return {"role": "user", "content": text}


def _exchange(client, stream, **request):
    """Return the text of a completion, whole or streamed."""
    answer = client.chat.completions.create(**request, stream=stream)
    if not stream:
        return answer.choices[0].message.content
    with answer as chunks:
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def _turns(client, agent):
    """Return session and text of an agent's turns, in the order in which they were stored."""
    listed = client.get(f"/agents/{agent}/memories", cast_to=object)["memories"]
    turns = [each for each in listed if each["metadata"]["type"] == "turn"]
    turns.sort(key=lambda turn: (turn["created_at"], turn["metadata"]["turn"]))
    return [(turn["session"], turn["metadata"]["text"]) for turn in turns]


@pytest.mark.parametrize("stream", [False, True])
def test_openai_chat_with_store_remembers_both_turns_in_the_session_of_its_metadata(client, upstream, remember, stream):
    """They are there when the response ends. Without `store` nothing is, and without a session it is `default`."""
    agent = f"logbook-{stream}"
    remember(agent, "Harbours are full in May")
    request = {"model": agent, "metadata": {"session": "sea", "trip": "1"}}
    asked = [_user("My boat is called Rosinante")]
    assert _exchange(client, stream, messages=asked, **request)
    assert _turns(client, agent) == []
    said = _exchange(client, stream, messages=asked, store=True, **request)
    first = [("sea", "user: My boat is called Rosinante"), ("sea", f"assistant: {said}")]
    assert _turns(client, agent) == first
    again = _exchange(client, stream, messages=[_user("Hello")], store=True, model=agent)
    assert _turns(client, agent) == [*first, ("default", "user: Hello"), ("default", f"assistant: {again}")]


def test_openai_chat_with_store_shows_the_model_no_turn_twice(client, upstream):
    """A turn that the request holds is no memory beside it; an empty agent's model is asked, too."""
    client.put("/agents/skipper", cast_to=object, body={"description": "knows boats"})
    request = {"model": "skipper", "store": True, "metadata": {"session": "sea"}}
    history = [_user("My boat is called Rosinante")]
    first = client.chat.completions.create(messages=history, **request)
    assert (first.model_extra["sources"], len(upstream.chats)) == ([], 1)
    history += [{"role": "assistant", "content": first.choices[0].message.content}, _user("What is my boat called?")]
    second = client.chat.completions.create(messages=history, **request)
    assert second.model_extra["sources"] == []
    other = client.chat.completions.create(messages=[_user("What is my boat called?")], **request)
    assert "user: My boat is called Rosinante" in [source["text"] for source in other.model_extra["sources"]]


def test_openai_chat_with_store_that_is_repeated_with_its_key_remembers_one_exchange(client, upstream, remember):
    """The `Idempotency-Key` makes it the same request."""
    remember("punctual", "The train leaves at nine")
    for _ in range(2):
        client.chat.completions.create(
            model="punctual", messages=[_user("When?")], store=True, extra_headers={"Idempotency-Key": "one"}
        )
    assert len(_turns(client, "punctual")) == 2


async def test_openai_chat_with_store_remembers_nothing_of_an_answer_that_was_left(aclient, upstream):
    """The client hangs up in the middle of it."""
    await aclient.post("/agents/hasty/memories", cast_to=object, body={"text": "go on forever"})
    stream = await aclient.chat.completions.create(
        model="hasty", messages=[_user("go on forever")], stream=True, store=True, max_tokens=20_000
    )
    assert await asyncio.to_thread(upstream.started.wait, 20)
    await stream.close()
    assert await asyncio.to_thread(upstream.disconnected.wait, 20)
    assert (await aclient.get("/agents/hasty/memories:count", cast_to=object))["count"] == 1


def test_openai_chat_with_store_cuts_an_answer_that_is_longer_than_a_memory(client, upstream, remember):
    """The client gets all of it."""
    remember("talker", "words")
    answer = client.chat.completions.create(
        model="talker", messages=[_user(("long " * 13_106).strip())], store=True, max_tokens=20_000
    )
    said = answer.choices[0].message.content
    assert len(f"assistant: {said}") > 65_536
    assert _turns(client, "talker")[1][1] == f"assistant: {said}"[:65_536]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"metadata": {"session": 1}}, "metadata.session"),
        ({"metadata": {"session": ""}}, "metadata.session"),
        ({"metadata": {"session": "s" * 257}}, "metadata.session"),
        ({"messages": [_user("a"), {"role": "tool", "content": "b", "tool_call_id": "1"}]}, "messages[1].role"),
        ({"messages": [_user("a" * 65_535)]}, "messages[0].content"),
    ],
)
def test_openai_chat_with_store_refuses_what_cannot_be_remembered_before_it_answers(client, wrong, param, upstream):
    """Nothing is generated for it."""
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.chat.completions.create(**{"model": "default", "store": True, "messages": [_user("Hi")], **wrong})
    assert caught.value.param == param
    assert upstream.chats == []


def test_openai_chat_with_store_needs_the_scope_to_write(keyed_server, client, upstream):
    """Without it the same request without `store` is answered; a plain model stores nothing."""
    key = keyed_server.talker
    with openai.OpenAI(base_url=f"{keyed_server.url}/v1", api_key=key, max_retries=0) as talker:
        with pytest.raises(openai.PermissionDeniedError):
            talker.chat.completions.create(model="default", messages=[_user("Hi")], store=True)
        assert talker.chat.completions.create(model="default", messages=[_user("Hi")])
        assert talker.chat.completions.create(model=MODEL, messages=[_user("Hi")], store=True)
