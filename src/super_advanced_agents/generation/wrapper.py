"""The asyncio interface of an `LLMGenerator`, under the name that the specification gives."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from types import TracebackType
from typing import Self

from super_advanced_agents.generation.base import MessageLike
from super_advanced_agents.generation.generator import LLMGenerator


class AsyncLLMWrapper:
    """Offer the asyncio methods of an `LLMGenerator`; closing the wrapper closes the generator.

    Args:
        llm: the generator, which may also be used directly.
    """

    def __init__(self, llm: LLMGenerator) -> None:
        self._llm = llm

    @property
    def llm(self) -> LLMGenerator:
        """The wrapped generator, which also has blocking methods."""
        return self._llm

    @property
    def model_id(self) -> str:
        """The `model_id` of the wrapped generator."""
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
        """Generate at most `max_length` new tokens after `prompt`, as `LLMGenerator.agenerate` does."""
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
        """Generate the assistant's next message of a chat, as `LLMGenerator.achat` does."""
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
        """Stream the text after `prompt` in pieces, as `LLMGenerator.astream` does."""
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
        """Stream the assistant's next message in pieces, as `LLMGenerator.astream_chat` does."""
        return self._llm.astream_chat(messages, max_length, stop=stop, temperature=temperature, seed=seed)

    def close(self) -> None:
        """Close the generator; closing twice does nothing."""
        self._llm.close()

    async def aclose(self) -> None:
        """Close the generator without blocking the event loop."""
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
