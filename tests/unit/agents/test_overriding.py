"""Test subclasses of agents that override one form of an operation."""

from __future__ import annotations

import inspect

import pytest

from super_advanced_agents import AsyncLLMAgent, FAISSVectorStore, LLMAgent

OPERATIONS = [
    name
    for name, _ in inspect.getmembers(LLMAgent, inspect.isfunction)
    if name != "close" and inspect.iscoroutinefunction(getattr(AsyncLLMAgent, f"a{name}", None))
]
CALLED_OPERATIONS = {
    "ask": ("search_text", ["where?"]),
    "stream_answer": ("search_text", ["where?"]),
    "hybrid_search": ("search_text", ["where?"]),
    "add_turns": ("add_text_memories", [[{"speaker": "Ann", "text": "hello"}]]),
}
"""The operation that each of these calls, and arguments for the call."""


@pytest.fixture
def store():
    with FAISSVectorStore(dim=384) as opened:
        yield opened


def overriding(base, verb, calls):
    """Return a subclass of `base` that records the calls of one operation in the form `verb`."""

    if inspect.iscoroutinefunction(getattr(AsyncLLMAgent, verb)):

        async def override(self, *args, **options):
            calls.append(verb)
            return await getattr(super(subclass, self), verb)(*args, **options)

    else:

        def override(self, *args, **options):
            calls.append(verb)
            return getattr(super(subclass, self), verb)(*args, **options)

    subclass = type("Overriding", (base,), {verb: override})
    return subclass


@pytest.mark.parametrize("verb", OPERATIONS)
def test_blocking_form_calls_the_override_of_the_async_form(verb, store, embedder):
    """This holds for each operation of `AsyncLLMAgent`."""

    async def override(self, *args):
        return self, args

    subclass = type("Overriding", (AsyncLLMAgent,), {f"a{verb}": override})
    agent = subclass("tester", store, embedder)
    assert getattr(agent, verb)(1, 2) == (agent, (1, 2))


def test_blocking_stream_calls_the_override_of_the_async_stream(store, embedder):
    """The answer of a subclass is the same read by a thread."""

    class Overriding(AsyncLLMAgent):
        async def astream_answer(self, question, *args, **options):
            yield "I will not say."

    assert list(Overriding("tester", store, embedder).stream_answer("who?")) == ["I will not say."]


@pytest.mark.parametrize("caller", CALLED_OPERATIONS)
@pytest.mark.parametrize("mixed_in", [False, True])
async def test_async_operation_uses_the_override_of_the_operation_it_calls(caller, mixed_in, store, embedder, llm):
    """The override may come from a subclass or from a mix-in."""
    called, args = CALLED_OPERATIONS[caller]
    calls: list[str] = []
    subclass = overriding(object if mixed_in else AsyncLLMAgent, f"a{called}", calls)
    if mixed_in:
        subclass = type("Mixed", (subclass, AsyncLLMAgent), {})
    agent = subclass("tester", store, embedder, llm)
    if caller == "stream_answer":
        assert [piece async for piece in agent.astream_answer(*args)]
    else:
        await getattr(agent, f"a{caller}")(*args)
    assert calls == [f"a{called}"]


@pytest.mark.parametrize("base", [LLMAgent, AsyncLLMAgent])
@pytest.mark.parametrize("caller", CALLED_OPERATIONS)
def test_blocking_operation_uses_the_override_of_the_operation_it_calls(caller, base, store, embedder, llm):
    """Two overrides of the form that belongs to the class are each called once."""
    called, args = CALLED_OPERATIONS[caller]
    verb = called if base is LLMAgent else f"a{called}"
    calls: list[str] = []
    agent = overriding(overriding(base, verb, calls), verb, calls)("tester", store, embedder, llm)
    result = getattr(agent, caller)(*args)
    assert caller != "stream_answer" or list(result)
    assert calls == [verb, verb]
    calls.clear()
    getattr(agent, called)(["hello"] if called == "add_text_memories" else "where?")
    assert calls == [verb, verb]


def test_blocking_override_may_call_the_async_override_through_super(store, embedder):
    """A subclass may override both forms."""

    class Overriding(AsyncLLMAgent):
        async def acount(self, where=None):
            return 1 + await super().acount(where)

        def count(self, where=None):
            return 10 * super().count(where)

    assert Overriding("tester", store, embedder).count() == 10
