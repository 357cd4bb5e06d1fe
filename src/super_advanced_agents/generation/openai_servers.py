"""A language model engine that spreads its requests over several servers of one model."""

from __future__ import annotations

from collections.abc import Sequence

from super_advanced_agents._runtime.remote.server_pool import Server, ServerPool, ServerStatus, one_key_each
from super_advanced_agents.errors import GenerationError, InvalidInputError, SuperAdvancedAgentsError
from super_advanced_agents.generation.base import Emit, GenerationEngine, GenerationOptions, OnInterruptible, Usage
from super_advanced_agents.generation.openai import OpenAIEngine
from super_advanced_agents.types import ChatMessage


class OpenAIServersEngine(GenerationEngine):
    """Stream generated text from several OpenAI-compatible servers of one model.

    A request goes to the least loaded server. One that fails is left out for a while, and its request goes to another
    server if no text has come yet.

    Args:
        model: the servers' name of the model.
        base_urls: the URL of each API.
        api_key: the bearer token to send to all servers, or one for each.
        timeout_s: the longest time in which a server may send nothing.

    Raises:
        ConfigurationError: an argument is invalid.
    """

    def __init__(
        self,
        model: str,
        *,
        base_urls: Sequence[str],
        api_key: str | Sequence[str | None] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        keys = one_key_each(api_key, len(base_urls))
        self._servers = [
            OpenAIEngine(model, base_url=url, api_key=key, timeout_s=timeout_s, max_retries=0)
            for url, key in zip(base_urls, keys, strict=True)
        ]
        self._model = model
        self._pool = ServerPool(base_urls, kind="generation")

    @property
    def model_id(self) -> str:
        """An id made of the servers' name for the model and their hosts."""
        return f"{self._model}@{'+'.join(status.server for status in self._pool.status())}"

    @property
    def max_prompt_bytes(self) -> int:
        """The maximum size of a prompt in bytes, 4 MiB."""
        return self._servers[0].max_prompt_bytes

    def server_status(self) -> list[ServerStatus]:
        """Return the state and the counters of each server, in the order of their addresses."""
        return self._pool.status()

    def open(self) -> None:
        """Create the HTTP clients, which connect at the first request."""
        for server in self._servers:
            server.open()

    def generate(
        self,
        messages: Sequence[ChatMessage],
        options: GenerationOptions,
        emit: Emit,
        on_interruptible: OnInterruptible,
    ) -> Usage:
        """Request the chat's next message from a server, and pass each piece to `emit`; blocks.

        Raises:
            InvalidInputError: a server refused the prompt or an option.
            SuperAdvancedAgentsError: it broke off, or every server failed; the error of the last one.
        """
        tried: list[Server] = []
        error: SuperAdvancedAgentsError = GenerationError("there is no server to ask")
        while (server := self._pool.begin(without=tried)) is not None:
            tried.append(server)
            attempt = _Attempt(emit)
            try:
                return self._servers[server.place].generate(messages, options, attempt.emit, on_interruptible)
            except InvalidInputError:
                raise
            except SuperAdvancedAgentsError as exc:
                if attempt.left or not emit(""):  # the connection was cut because the caller left
                    attempt.left = True
                    raise
                error = attempt.failure = exc
                if attempt.begun:
                    raise
            finally:
                self._pool.end(server, error=attempt.failure, took_s=None if attempt.left else 0.0)
        raise error

    def close(self) -> None:
        """Close the connections to all servers."""
        for server in self._servers:
            server.close()


class _Attempt:
    # Records the outcome of one server's answer.

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.begun = self.left = False
        self.failure: Exception | None = None

    def emit(self, piece: str) -> bool:
        self.begun = self.begun or bool(piece)
        self.left = not self._emit(piece)
        return not self.left


def count_of(base_url: str | Sequence[str] | None) -> int:
    """Return the number of servers that `base_url` names, at least 1."""
    return 1 if base_url is None or isinstance(base_url, str) else max(1, len(base_url))


def server_engine(
    model: str,
    base_url: str | Sequence[str],
    api_key: str | Sequence[str | None] | None,
    *,
    timeout_s: float,
    max_retries: int,
) -> GenerationEngine:
    """Return the engine for one server, or for several.

    Raises:
        ConfigurationError: an argument is invalid.
    """
    urls = [base_url] if isinstance(base_url, str) else list(base_url)
    if len(urls) != 1:
        return OpenAIServersEngine(model, base_urls=urls, api_key=api_key, timeout_s=timeout_s)
    [key] = one_key_each(api_key, 1)
    return OpenAIEngine(model, base_url=urls[0], api_key=key, timeout_s=timeout_s, max_retries=max_retries)
