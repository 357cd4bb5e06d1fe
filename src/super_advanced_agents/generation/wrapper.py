"""`AsyncLLMWrapper`: the asynchronous face of an `LLMGenerator`, as the specification names it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from types import TracebackType
from typing import Self

from super_advanced_agents.generation.base import MessageLike
from super_advanced_agents.generation.generator import LLMGenerator


class AsyncLLMWrapper:
    """The generator's own asynchronous operations under one object; closing it closes the generator.

    Args:
        llm: the generator; it may be used beside the wrapper.
    """

    def __init__(self, llm: LLMGenerator) -> None:
        self._llm = llm

    @property
    def llm(self) -> LLMGenerator:
        """The generator itself, for the blocking operations."""
        return self._llm

    @property
    def model_id(self) -> str:
        """As `LLMGenerator.model_id`."""
        return self._llm.model_id

    @property
    def closed(self) -> bool:
        """Whether the generator is closed."""
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
        """As `LLMGenerator.agenerate`."""
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
        """As `LLMGenerator.achat`."""
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
        """As `LLMGenerator.astream`."""
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
        """As `LLMGenerator.astream_chat`."""
        return self._llm.astream_chat(messages, max_length, stop=stop, temperature=temperature, seed=seed)

    def close(self) -> None:
        """Close the generator; closing twice does nothing."""
        self._llm.close()

    async def aclose(self) -> None:
        """`close()` for asyncio."""
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
