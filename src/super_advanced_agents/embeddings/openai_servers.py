"""An embedding engine that spreads its requests over several servers of one model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from super_advanced_agents._runtime.concurrency.loop_thread import LoopThread, acquire_loop, release_loop
from super_advanced_agents._runtime.remote.openai_server import open_async_client
from super_advanced_agents._runtime.remote.server_pool import Server, ServerPool, ServerStatus, one_key_each
from super_advanced_agents.embeddings.base import EmbeddingEngine
from super_advanced_agents.embeddings.openai import OpenAIEngine
from super_advanced_agents.errors import EmbeddingError, InvalidInputError, SuperAdvancedAgentsError
from super_advanced_agents.types import Matrix

if TYPE_CHECKING:
    import openai

_CLOSING_S = 5.0
_PAUSE_S = 0.2
"""The pause before all servers are tried once more.

One may be down while another closes an idle connection.
"""


class OpenAIServersEngine(EmbeddingEngine):
    """Embed texts by several OpenAI-compatible servers of one model.

    A request goes to the least loaded server. One that fails, or answers with vectors of another length, is left out
    for a while, and its request goes to another server within `timeout_s`. Of requests that take longer than 95% of
    those before, a second one is sent to another server, at most 5% of all; the first answer counts, and the other
    request is cancelled.

    Args:
        model: the servers' name of the model.
        base_urls: the URL of each API with its path.
        api_key: the bearer token to send to all servers, or one for each.
        timeout_s: the time limit of one request, all attempts together.
        dim: the length of the vectors, if known; otherwise the first response sets it.

    Raises:
        ConfigurationError: an argument is invalid.
    """

    batch_texts = OpenAIEngine.batch_texts
    batch_tokens = OpenAIEngine.batch_tokens

    def __init__(
        self,
        model: str,
        *,
        base_urls: Sequence[str],
        api_key: str | Sequence[str | None] | None = None,
        timeout_s: float = 30.0,
        dim: int | None = None,
    ) -> None:
        self._keys = one_key_each(api_key, len(base_urls))
        self._urls = list(base_urls)
        self._servers = [
            OpenAIEngine(model, base_url=url, api_key=key, timeout_s=timeout_s, dim=dim)
            for url, key in zip(self._urls, self._keys, strict=True)
        ]
        self._model = model
        self._timeout_s = timeout_s
        self._dim = dim
        self._pool = ServerPool(self._urls, kind="embedding")
        self._clients: list[openai.AsyncOpenAI] = []
        self._loop: LoopThread | None = None
        self.workers = OpenAIEngine.workers * len(self._urls)

    @property
    def model_id(self) -> str:
        """An id made of the servers' name for the model, without a digest of the weights."""
        return self._servers[0].model_id

    @property
    def dim(self) -> int | None:
        """The number of dimensions of the vectors; None until the first response unless given."""
        return self._dim

    @property
    def max_tokens(self) -> None:
        """Always None: the API does not report the number of tokens to which a text is truncated."""
        return None

    def server_status(self) -> list[ServerStatus]:
        """Return the state and the counters of each server, in the order of their addresses."""
        return self._pool.status()

    def open(self) -> None:
        """Create the HTTP clients, which connect at the first request."""
        if self._loop is not None:
            return
        import httpx2

        timeout = httpx2.Timeout(self._timeout_s)
        self._clients = [
            open_async_client(url, api_key=key, timeout=timeout)
            for url, key in zip(self._urls, self._keys, strict=True)
        ]
        self._loop = acquire_loop()

    def run(self, texts: Sequence[str]) -> Matrix:
        """Request the vectors of `texts` from one of the servers, and return them as unit vectors.

        Returns:
            (n, dim) float32, one L2-normalised row per text, in order.

        Raises:
            InvalidInputError: status 400 or 422: a server refused a text.
            SuperAdvancedAgentsError: every server failed; the error of the last one.
        """
        assert self._loop is not None
        return self._loop.submit(partial(self._request, list(texts))).wait()

    def close(self) -> None:
        """Close the connections to all servers."""
        loop, self._loop = self._loop, None
        if loop is not None:
            with suppress(SuperAdvancedAgentsError, TimeoutError):
                loop.submit(self._close_clients).wait(_CLOSING_S)
            release_loop()

    async def _close_clients(self) -> None:
        for client in self._clients:
            await client.close()

    async def _request(self, texts: list[str]) -> Matrix:
        deadline = time.monotonic() + self._timeout_s
        try:
            return await self._try_each(texts, deadline)
        except InvalidInputError:
            raise
        except SuperAdvancedAgentsError as exc:
            if not exc.retryable or deadline - time.monotonic() < 2 * _PAUSE_S:
                raise
        await asyncio.sleep(_PAUSE_S)
        return await self._try_each(texts, deadline)

    async def _try_each(self, texts: list[str], deadline: float) -> Matrix:
        error: SuperAdvancedAgentsError | None = None
        tried: list[Server] = []
        while (left_s := deadline - time.monotonic()) > 0 and (server := self._pool.begin(without=tried)) is not None:
            tried.append(server)
            try:
                return await self._hedged(server, texts, tried, left_s)
            except InvalidInputError:
                raise
            except SuperAdvancedAgentsError as exc:
                error = exc
        raise error or EmbeddingError(f"no embedding server answered within {self._timeout_s} s", retryable=True)

    async def _hedged(self, first: Server, texts: list[str], tried: list[Server], left_s: float) -> Matrix:
        # A server that hangs must leave time for those that were not tried.
        limit_s = left_s / (1 + len(self._pool) - len(tried))
        attempts = {asyncio.create_task(self._attempt(first, texts, limit_s))}
        try:
            done, _ = await asyncio.wait(attempts, timeout=self._pool.hedge_after_s(len(texts)))
            if not done and (second := self._pool.begin(without=tried, hedge=True)) is not None:
                tried.append(second)
                attempts.add(asyncio.create_task(self._attempt(second, texts, limit_s)))
            return await _first_answer(attempts)
        finally:
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)

    async def _attempt(self, server: Server, texts: list[str], limit_s: float) -> Matrix:
        engine = self._servers[server.place]
        began, took_s = time.monotonic(), None
        failure: Exception | None = None
        try:
            with engine.translated_errors(texts):
                async with asyncio.timeout(limit_s):  # the client's own limits the wait for each part
                    response = await self._clients[server.place].embeddings.create(
                        model=self._model, input=texts, encoding_format="float"
                    )
            matrix = engine.to_matrix(response, len(texts), self._dim)
            self._dim = matrix.shape[1]
            took_s = time.monotonic() - began
        except TimeoutError as exc:
            failure = EmbeddingError(
                f"the embedding server {server.name!r} did not answer within {limit_s:.3g} s", retryable=True
            )
            raise failure from exc
        except InvalidInputError:
            took_s = time.monotonic() - began  # it answered
            raise
        except SuperAdvancedAgentsError as exc:
            failure = exc
            raise
        else:
            return matrix
        finally:
            self._pool.end(server, error=failure, took_s=took_s, size=len(texts))


async def _first_answer(attempts: Collection[asyncio.Task[Matrix]]) -> Matrix:
    error: SuperAdvancedAgentsError | None = None
    for attempt in asyncio.as_completed(attempts):
        try:
            return await attempt
        except InvalidInputError:
            raise
        except SuperAdvancedAgentsError as exc:
            error = exc
    assert error is not None
    raise error


def server_engine(
    model: str,
    base_url: str | Sequence[str],
    api_key: str | Sequence[str | None] | None,
    *,
    timeout_s: float,
    dim: int | None,
) -> EmbeddingEngine:
    """Return the engine for one server, or for several.

    Raises:
        ConfigurationError: an argument is invalid.
    """
    urls = [base_url] if isinstance(base_url, str) else list(base_url)
    if len(urls) != 1:
        return OpenAIServersEngine(model, base_urls=urls, api_key=api_key, timeout_s=timeout_s, dim=dim)
    [key] = one_key_each(api_key, 1)
    return OpenAIEngine(model, base_url=urls[0], api_key=key, timeout_s=timeout_s, dim=dim)
