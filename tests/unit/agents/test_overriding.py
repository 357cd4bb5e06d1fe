"""Subclasses of agents that override one form of an operation."""

from __future__ import annotations

import inspect

import pytest

from super_advanced_agents import AsyncLLMAgent, FAISSVectorStore, LLMAgent

OPERATIONS = [
    name
    for name, _ in inspect.getmembers(LLMAgent, inspect.isfunction)
    if inspect.iscoroutinefunction(getattr(AsyncLLMAgent, f"a{name}", None))
]
USES = {
    "ask": ("search_text", ["where?"]),
    "stream_answer": ("search_text", ["where?"]),
    "hybrid_search": ("search_text", ["where?"]),
    "add_turns": ("add_text_memories", [[{"speaker": "Ann", "text": "hello"}]]),
}
"""What each operation is made of, and arguments that make it so."""


@pytest.fixture
def store():
    with FAISSVectorStore(dim=384) as opened:
        yield opened


def overriding(base, verb, calls):
    """A subclass of `base` that notes the calls of one operation, whose form is `verb`, and passes them on."""

    if inspect.iscoroutinefunction(getattr(AsyncLLMAgent, verb)):

        async def override(self, *args, **options):
            calls.append(verb)
            return await getattr(super(made, self), verb)(*args, **options)

    else:

        def override(self, *args, **options):
            calls.append(verb)
            return getattr(super(made, self), verb)(*args, **options)

    made = type("Overriding", (base,), {verb: override})
    return made


@pytest.mark.parametrize("verb", OPERATIONS)
def test_blocking_form_calls_the_override_of_the_async_form(verb, store, embedder):
    """Whatever operation a subclass of `AsyncLLMAgent` overrides, its blocking form is overridden too."""

    async def override(self, *args):
        return self, args

    made = type("Overriding", (AsyncLLMAgent,), {f"a{verb}": override})
    agent = made("tester", store, embedder)
    assert getattr(agent, verb)(1, 2) == (agent, (1, 2))


def test_blocking_stream_calls_the_override_of_the_async_stream(store, embedder):
    """The streamed answer of a subclass is the same read by a thread."""

    class Overriding(AsyncLLMAgent):
        async def astream_answer(self, question, *args, **options):
            yield "I will not say."

    assert list(Overriding("tester", store, embedder).stream_answer("who?")) == ["I will not say."]


@pytest.mark.parametrize("user", USES)
@pytest.mark.parametrize("mixed_in", [False, True])
async def test_async_operation_uses_the_override_of_another(user, mixed_in, store, embedder, llm):
    """A subclass, or a mix-in, that overrides an operation has changed those that are made of it."""
    used, args = USES[user]
    calls: list[str] = []
    made = overriding(object if mixed_in else AsyncLLMAgent, f"a{used}", calls)
    if mixed_in:
        made = type("Mixed", (made, AsyncLLMAgent), {})
    agent = made("tester", store, embedder, llm)
    if user == "stream_answer":
        assert [piece async for piece in agent.astream_answer(*args)]
    else:
        await getattr(agent, f"a{user}")(*args)
    assert calls == [f"a{used}"]


@pytest.mark.parametrize("base", [LLMAgent, AsyncLLMAgent])
@pytest.mark.parametrize("user", USES)
def test_blocking_operation_uses_the_override_of_another(user, base, store, embedder, llm):
    """A subclass overrides the form that its class is for; overriding it twice calls both, each once."""
    used, args = USES[user]
    verb = used if base is LLMAgent else f"a{used}"
    calls: list[str] = []
    agent = overriding(overriding(base, verb, calls), verb, calls)("tester", store, embedder, llm)
    result = getattr(agent, user)(*args)
    assert user != "stream_answer" or list(result)
    assert calls == [verb, verb]
    calls.clear()
    getattr(agent, used)(["hello"] if used == "add_text_memories" else "where?")
    assert calls == [verb, verb]


def test_blocking_override_beside_an_async_one_may_call_it(store, embedder):
    """A subclass may override both forms, the blocking one by `super()`."""

    class Overriding(AsyncLLMAgent):
        async def acount(self, where=None):
            return 1 + await super().acount(where)

        def count(self, where=None):
            return 10 * super().count(where)

    assert Overriding("tester", store, embedder).count() == 10
