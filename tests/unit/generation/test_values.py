"""The checked values of a generation, and the stop strings that never appear."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents.errors import ConfigurationError, InvalidInputError, ResourceClosedError
from super_advanced_agents.generation import AsyncLLMWrapper, GenerationOptions, LLMGenerator
from super_advanced_agents.generation.base import StopFilter, checked_messages


@pytest.fixture
def unopened() -> Iterator[LLMGenerator]:
    """A generator whose model is never loaded: what is checked before."""
    with LLMGenerator("no/such/file.gguf") as generator:
        yield generator


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("max_length", {"max_length": 0}),
        ("max_length", {"max_length": True}),
        ("max_length", {"max_length": 1.5}),
        ("temperature", {"temperature": -0.1}),
        ("temperature", {"temperature": math.nan}),
        ("temperature", {"temperature": math.inf}),
        ("temperature", {"temperature": "hot"}),
        ("seed", {"seed": -1}),
        ("seed", {"seed": 2**32 - 1}),
        ("stop", {"stop": "text"}),
        ("stop", {"stop": ["x"] * 17}),
        ("stop[1]", {"stop": ["a", ""]}),
        ("stop[0]", {"stop": ["\0"]}),
        ("stop[0]", {"stop": ["x" * 257]}),
    ],
)
def test_wrong_option_is_named(unopened, field, options):
    """An option out of range is refused before the model is touched, by its name."""
    with pytest.raises(InvalidInputError) as caught:
        unopened.generate("Hello", **options)
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


@pytest.mark.parametrize("prompt", ["", "  \n", "a\0b", "lone \ud800", 7, None, "x" * 200_000])
def test_wrong_prompt_is_named(unopened, prompt):
    """A prompt that is no text, or far longer than any context, is refused."""
    with pytest.raises(InvalidInputError) as caught:
        unopened.generate(prompt)
    assert caught.value.field == "prompt"


@pytest.mark.parametrize(
    ("field", "messages"),
    [
        ("messages", []),
        ("messages", "hello"),
        ("messages", {"role": "user", "content": "x"}),
        ("messages[0]", ["hello"]),
        ("messages[0].role", [{"role": "tool", "content": "x"}]),
        ("messages[0].role", [{"content": "x"}]),
        ("messages[1].content", [{"role": "user", "content": "x"}, {"role": "user", "content": ""}]),
        ("messages[0].content", [{"role": "user"}]),
        ("messages[0]", [{"role": "user", "content": "x", "name": "y"}]),
    ],
)
def test_wrong_message_is_named(field, messages):
    """A message of a chat that is wrong is named by its place."""
    with pytest.raises(InvalidInputError) as caught:
        checked_messages(messages, 100)
    assert caught.value.field == field


@pytest.mark.parametrize("setting", [{"slots": 0}, {"context_tokens": 0}, {"max_queue": 0}, {"threads": 0}])
def test_wrong_setting_is_refused(setting):
    """A generator's numbers are checked when it is made."""
    with pytest.raises(ConfigurationError, match=next(iter(setting))):
        LLMGenerator(**setting)


@pytest.mark.parametrize("base_url", ["ftp://x", "nonsense", "http://", "http://user:pw@host/v1"])
def test_wrong_base_url_is_refused(base_url):
    """A base URL is http or https, with a host and without a password."""
    with pytest.raises(ConfigurationError, match="base_url"):
        LLMGenerator("m", base_url=base_url)


async def test_use_after_close_is_refused():
    """A closed generator, and a wrapper around it, say so."""
    wrapper = AsyncLLMWrapper(LLMGenerator())
    await wrapper.aclose()
    await wrapper.aclose()
    assert wrapper.closed
    with pytest.raises(ResourceClosedError):
        await wrapper.agenerate("Hello")
    with pytest.raises(ResourceClosedError):
        async for _ in wrapper.astream("Hello"):
            pass


@given(st.text("ab<>", max_size=40), st.lists(st.text("ab<>", min_size=1, max_size=4), max_size=3), st.data())
def test_stop_strings_never_appear(text, stops, data):
    """However a text is cut into pieces, what comes out ends right before the first stop string."""
    filter_ = StopFilter(stops)
    out, rest = "", text
    while rest:
        n = data.draw(st.integers(1, len(rest)))
        out += filter_.feed(rest[:n])
        rest = rest[n:]
    out += filter_.flush()
    first = min((at for at in map(text.find, stops) if at >= 0), default=len(text))
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    assert not any(stop in out for stop in stops)
    assert text.startswith(out)
    assert len(out) >= first if not ends else len(out) <= min(ends)
    assert filter_.stopped == bool(ends)


def test_options_are_values():
    """Options compare by value and keep their stop strings as a tuple."""
    assert GenerationOptions(stop=["x"]) == GenerationOptions(stop=("x",))
