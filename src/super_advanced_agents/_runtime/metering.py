"""The meter of a call, which counts the tokens of a prompt before a language model reads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

_BYTES_PER_TOKEN = 4
"""An estimate for English; other languages have fewer bytes a token in most models."""

Meter: TypeAlias = Callable[[int], Awaitable[None]]
"""A function that takes a number of tokens; an error that it raises ends the call."""

_meter: ContextVar[Meter | None] = ContextVar("token_meter", default=None)


@contextmanager
def metered(meter: Meter | None) -> Iterator[None]:
    """Enter a context in which `meter` gets the tokens of every prompt; None is no meter."""
    token = _meter.set(meter)
    try:
        yield
    finally:
        _meter.reset(token)


def estimated_tokens(text: str) -> int:
    """Estimate the number of tokens in a text from its bytes, for models without a tokenizer."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)


async def meter_prompt(*texts: str) -> None:
    """Tell the meter of this context, if it has one, the tokens of a prompt, by estimate."""
    meter = _meter.get()
    if meter is not None:
        await meter(sum(map(estimated_tokens, texts)))
