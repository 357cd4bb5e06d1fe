"""Conversations with an agent, on the real small language model."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from super_advanced_agents import AsyncLLMAgent, FAISSVectorStore, LLMAgent
from super_advanced_agents.agents import chatting
from super_advanced_agents.agents.chatting import ASSISTANT, USER
from super_advanced_agents.errors import ConfigurationError, InvalidInputError, ModelNotFoundError
from super_advanced_agents.generation import LLMGenerator


@pytest.fixture
def store():
    with FAISSVectorStore(dim=384) as opened:
        yield opened


@pytest.fixture
def agent(store, embedder, llm):
    return AsyncLLMAgent("talker", store, embedder, llm, answer_tokens=24)


async def turns_of(agent, session):
    """Return the texts of a session's turns, in their order."""
    records = await agent.ascan({"$session": session})
    return [record.text for record in sorted(records, key=lambda record: record.place)]


async def test_both_turns_are_remembered_and_the_next_answer_knows_them(agent):
    """The history of the session is part of the prompt, and its turns are not shown as memories again."""
    first = await agent.achat("My boat is called Rosinante.", "sea")
    second = await agent.achat("What is my boat called?", session="sea")
    assert "Rosinante" in second.text
    assert second.sources == []
    texts = await turns_of(agent, "sea")
    assert texts == [
        "user: My boat is called Rosinante.",
        f"assistant: {first.text}",
        "user: What is my boat called?",
        f"assistant: {second.text}",
    ]


async def test_memories_are_part_of_the_answer_and_other_sessions_are_only_memories(agent):
    """What was said elsewhere is found by the search."""
    await agent.aadd_text_memory("The Eiffel Tower is in Paris.")
    await agent.aadd_turns([{"speaker": "Ann", "text": "I like towers."}], session="other")
    answer = await agent.achat("In which city is the Eiffel Tower?", "new", remember=False)
    assert "Paris" in answer.text
    assert {source.text for source in answer.sources} == {"The Eiffel Tower is in Paris.", "Ann: I like towers."}
    assert await turns_of(agent, "new") == []
    narrowed = await agent.achat("And the tower?", "new", where={"$session": "other"}, remember=False)
    assert [source.text for source in narrowed.sources] == ["Ann: I like towers."]


async def test_what_the_message_itself_tells_is_no_unsupported_name(agent):
    """A user may say something new, and an answer may repeat it."""
    await agent.aadd_text_memory("The harbour opens at six.")
    answer = await agent.achat("Repeat this name: Zoe", "names")
    assert "Zoe" in answer.text
    assert "Zoe" not in answer.unsupported


async def test_stream_remembers_before_its_last_event_and_nothing_when_left_early(agent):
    """Sources come first; the last event has the whole text."""
    async with aclosing(agent.achat_events("Say hello.", "left")) as events:
        async for event in events:
            if event.text is not None:
                break
    assert await turns_of(agent, "left") == []
    events = [event async for event in agent.achat_events("Say hello.", "whole")]
    assert events[0].sources == []
    assert "".join(event.text or "" for event in events).strip() == events[-1].done
    assert await turns_of(agent, "whole") == ["user: Say hello.", f"assistant: {events[-1].done}"]


async def test_cancelled_chat_remembers_nothing(agent):
    """The slot of the model is free again."""
    chatting = asyncio.create_task(agent.achat("Count to a hundred.", "gone"))
    await asyncio.sleep(0)
    chatting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await chatting
    assert await turns_of(agent, "gone") == []


async def test_long_session_shows_the_latest_turns_that_fit(agent):
    """The oldest are left out of the history, and may come back as memories."""
    await agent.aadd_turns(
        [{"speaker": (USER, ASSISTANT)[n % 2], "text": f"{n} " + "word " * 120} for n in range(60)], session="long"
    )
    await agent.aadd_turns([{"speaker": USER, "text": "The code is 4711."}], session="long")
    answer = await agent.achat("What is the code?", "long")
    assert "4711" in answer.text
    assert len(await turns_of(agent, "long")) == 63


async def test_session_of_any_length_is_read_in_a_bounded_number_of_pages(agent, monkeypatch):
    """The latest turns are shown all the same."""
    for name, number in (("_MAX_TURNS", 4), ("_PAGE", 5), ("_MAX_READ", 20)):
        monkeypatch.setattr(chatting, name, number)
    for n in range(40):
        await agent.aadd_turns([{"speaker": (USER, ASSISTANT)[n % 2], "text": f"word {n}"}], session="long")
    await agent.aadd_turns([{"speaker": USER, "text": "The code is 4711."}], session="long")
    pages, scan = [], AsyncLLMAgent._ascan

    async def counting(self, *arguments, **others):
        pages.append(others)
        return await scan(self, *arguments, **others)

    monkeypatch.setattr(AsyncLLMAgent, "_ascan", counting)
    turns = await agent._latest_turns("long")
    assert [turn.text for turn in turns][-1] == "user: The code is 4711."
    assert len(turns) == 4
    assert len(pages) <= 10


def test_blocking_form_is_the_same_operation(store, embedder, llm):
    """It works without an event loop."""
    agent = LLMAgent("talker", store, embedder, llm, answer_tokens=8)
    assert agent.chat("Hello!", "s").text
    assert [event.done for event in agent.chat_events("Hello again!", "s")][-1]
    assert agent.count({"$session": "s"}) == 4


async def test_chat_without_a_language_model_is_refused(store, embedder, tmp_path):
    """Nothing is remembered."""
    with pytest.raises(ConfigurationError, match="needs a language model"):
        await AsyncLLMAgent("mute", store, embedder).achat("Hello!")
    async with LLMGenerator(tmp_path / "none.gguf") as missing:
        with pytest.raises(ModelNotFoundError):
            await AsyncLLMAgent("mute", store, embedder, missing).achat("Hello!")
    assert await store.acount() == 0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"message": " "}, "message"),
        ({"message": "x" * 65_536}, "message"),
        ({"message": "hi", "session": ""}, "session"),
        ({"message": "hi", "session": "x" * 257}, "session"),
        ({"message": "hi", "instructions": "x" * 9_000}, "instructions"),
    ],
)
async def test_invalid_argument_is_named_and_nothing_remembered(agent, store, arguments, field):
    """The checks come before the language model."""
    with pytest.raises(InvalidInputError) as caught:
        await agent.achat(**arguments)
    assert (caught.value.field, await store.acount()) == (field, 0)
