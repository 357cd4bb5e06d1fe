"""A wrapper with only the asyncio methods of an `LLMGenerator`, a shared language model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from types import TracebackType
from typing import Self

from super_advanced_agents.generation.base import MessageLike
from super_advanced_agents.generation.generator import LLMGenerator


class AsyncLLMWrapper:
    """Offer only the asyncio methods of an `LLMGenerator`, a shared language model.

    Closing the wrapper closes the generator.

    Args:
        llm: the generator, which may also be used directly.
    """

    def __init__(self, llm: LLMGenerator) -> None:
        self._llm = llm

    @property
    def llm(self) -> LLMGenerator:
        """The wrapped `LLMGenerator`, which also has blocking methods."""
        return self._llm

    @property
    def model_id(self) -> str:
        """An id made of the model's name and a digest of its weights or its server's host."""
        return self._llm.model_id

    @property
    def closed(self) -> bool:
        """True once the wrapped generator is closed."""
        return self._llm.closed

    async def agenerate(
        self,
        prompt: str,
        max_length: int = 100,
        *,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> str:
        """Generate the model's reply to one user prompt, at most `max_length` tokens long.

        Arguments and errors are those of `LLMGenerator.agenerate`.
        """
        return await self._llm.agenerate(prompt, max_length, stop=stop, temperature=temperature, seed=seed)

    async def achat(
        self,
        messages: Iterable[MessageLike],
        max_length: int = 100,
        *,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> str:
        """Generate the assistant's next message of a chat, and return its text.

        Arguments and errors are those of `LLMGenerator.achat`.
        """
        return await self._llm.achat(messages, max_length, stop=stop, temperature=temperature, seed=seed)

    def astream(
        self,
        prompt: str,
        max_length: int = 100,
        *,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> AsyncGenerator[str, None]:
        """Return an async iterator over the pieces of the model's reply to one user prompt.

        Arguments and errors are those of `LLMGenerator.astream`.
        """
        return self._llm.astream(prompt, max_length, stop=stop, temperature=temperature, seed=seed)

    def astream_chat(
        self,
        messages: Iterable[MessageLike],
        max_length: int = 100,
        *,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> AsyncGenerator[str, None]:
        """Return an async iterator over the pieces of the assistant's next message of a chat.

        Arguments and errors are those of `LLMGenerator.astream_chat`.
        """
        return self._llm.astream_chat(messages, max_length, stop=stop, temperature=temperature, seed=seed)

    def close(self) -> None:
        """Close the wrapped generator; closing twice does nothing."""
        self._llm.close()

    async def aclose(self) -> None:
        """Close the wrapped generator without blocking the event loop."""
        await self._llm.aclose()

    def __enter__(self) -> Self:
        self._llm.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self._llm.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()
