"""Test the validation of a generation's arguments, and the filter of stop strings."""

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
    """Make a generator whose model is never loaded."""
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
def test_generate_names_the_option_that_is_out_of_range(unopened, field, options):
    """The option is refused before the model is loaded."""
    with pytest.raises(InvalidInputError) as caught:
        unopened.generate("Hello", **options)
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


@pytest.mark.parametrize("prompt", ["", "  \n", "a\0b", "lone \ud800", 7, None, "x" * 200_000])
def test_generate_refuses_an_invalid_prompt(unopened, prompt):
    """It may be no text, or far longer than any context."""
    with pytest.raises(InvalidInputError) as caught:
        unopened.generate(prompt)
    assert caught.value.field == "prompt"


def test_empty_answers_in_a_chat_are_left_out():
    """A model may have said nothing; what the user says is never empty."""
    chat = [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "y"}]
    assert [message.content for message in checked_messages(chat, 100)] == ["x", "y"]


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
def test_checked_messages_names_the_invalid_field_of_a_message(field, messages):
    """The field contains the message's index."""
    with pytest.raises(InvalidInputError) as caught:
        checked_messages(messages, 100)
    assert caught.value.field == field


@pytest.mark.parametrize("setting", [{"slots": 0}, {"context_tokens": 0}, {"max_queue": 0}, {"threads": 0}])
def test_generator_constructor_refuses_settings_below_one(setting):
    """The message names the setting."""
    with pytest.raises(ConfigurationError, match=next(iter(setting))):
        LLMGenerator(**setting)


@pytest.mark.parametrize("base_url", ["ftp://x", "nonsense", "http://", "http://user:pw@host/v1"])
def test_generator_constructor_refuses_an_invalid_base_url(base_url):
    """A valid URL is http or https, with a host and without a password."""
    with pytest.raises(ConfigurationError, match="base_url"):
        LLMGenerator("m", base_url=base_url)


async def test_closed_wrapper_raises_resource_closed():
    """Closing again does nothing."""
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
def test_stop_filter_ends_the_text_before_the_first_stop_string(text, stops, data):
    """It does not matter how the text is cut into pieces."""
    filter_ = StopFilter(stops)
    out, remaining = "", text
    while remaining:
        n = data.draw(st.integers(1, len(remaining)))
        out += filter_.feed(remaining[:n])
        remaining = remaining[n:]
    out += filter_.flush()
    first = min((at for at in map(text.find, stops) if at >= 0), default=len(text))
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    assert not any(stop in out for stop in stops)
    assert text.startswith(out)
    assert len(out) >= first if not ends else len(out) <= min(ends)
    assert filter_.stopped == bool(ends)


def test_generation_options_compare_by_value():
    """Stop strings are stored as a tuple."""
    assert GenerationOptions(stop=["x"]) == GenerationOptions(stop=("x",))
