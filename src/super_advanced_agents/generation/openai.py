"""Any OpenAI-compatible server (vLLM, llama-server, Ollama), through the `openai` client."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from super_advanced_agents.errors import (
    ConfigurationError,
    GenerationError,
    InvalidInputError,
    ModelNotFoundError,
    OverloadedError,
    RateLimitedError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.generation.base import Emit, GenerationEngine, GenerationOptions, OnInterruptible, Usage
from super_advanced_agents.types import ChatMessage

if TYPE_CHECKING:
    import httpx2
    import openai

_MAX_PROMPT_BYTES = 4 * 1024 * 1024
_CONNECT_TIMEOUT_S = 10.0
_MAX_STOPS = 4
"""OpenAI's own limit; further stop strings are cut off on this side."""
_SENT_HEADERS = {
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "user-agent",
    "transfer-encoding",
}
_DEFAULT_RETRY_AFTER_S = 1.0


class OpenAIEngine(GenerationEngine):
    """`POST {base_url}/chat/completions`, streamed.

    Nothing but `base_url` and `api_key` decides where requests go and with what key: the `openai` client's own
    environment variables are not used, and redirects are not followed.

    Args:
        model: the server's name for the model.
        base_url: such as `"http://127.0.0.1:8080/v1"`.
        api_key: sent as a bearer token; no `Authorization` header when None.
        timeout_s: how long the server may be silent.
        max_retries: further attempts when it is unreachable or busy, before the first token only.

    Raises:
        ConfigurationError: `base_url` is no http(s) URL, or a number is out of range.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        max_retries: int = 2,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError("base_url must be an http or https URL", hint="such as 'http://127.0.0.1:8080/v1'")
        if parts.username or parts.password:
            raise ConfigurationError("base_url must not hold a user or a password", hint="use api_key")
        if not timeout_s > 0 or type(max_retries) is not int or max_retries < 0:
            raise ConfigurationError("timeout_s must be > 0 and max_retries an integer >= 0")
        self._model = model
        self._base_url = base_url
        self._host = parts.netloc
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._client: openai.OpenAI | None = None
        self._opening = threading.Lock()

    @property
    def model_id(self) -> str:
        """The server's host and its name for the model."""
        return f"{self._model}@{self._host}"

    @property
    def max_prompt_bytes(self) -> int:
        """4 MiB: the server knows its context, this only keeps absurd requests off the wire."""
        return _MAX_PROMPT_BYTES

    def open(self) -> None:
        """Make the client; connects at the first request."""
        import httpx2
        import openai

        timeout = httpx2.Timeout(self._timeout_s, connect=min(self._timeout_s, _CONNECT_TIMEOUT_S))
        with self._opening:
            self._client = openai.OpenAI(
                api_key=self._api_key or "none",  # the client insists on one; `_only_ours` decides what is sent
                base_url=self._base_url,
                timeout=timeout,
                max_retries=self._max_retries,
                http_client=httpx2.Client(
                    timeout=timeout, follow_redirects=False, event_hooks={"request": [self._only_ours]}
                ),
            )

    def generate(
        self,
        messages: Sequence[ChatMessage],
        options: GenerationOptions,
        emit: Emit,
        on_interruptible: OnInterruptible,
    ) -> Usage:
        """As the base says; leaving early closes the HTTP response, which is how such servers learn of it.

        Servers send their counts of tokens only when asked, and some refuse to be: pieces are counted instead.

        Raises:
            RateLimitedError: 429, after the retries.
            OverloadedError: 503, after the retries.
            ModelNotFoundError: 404.
            InvalidInputError: 400, 413 or 422: the server refused the prompt or an option.
            GenerationError: unreachable, broken off, malformed, or anything else; also 401 and 403, since it is our key
                that was refused and not our caller's.
        """
        from openai import omit

        if self._client is None:
            raise GenerationError(f"the connection to {self._host!r} is not open")
        with self._translated():
            stream: openai.Stream[Any] = self._client.chat.completions.create(  # type: ignore[assignment]  # streamed
                model=self._model,
                messages=[{"role": message.role, "content": message.content} for message in messages],  # type: ignore[misc]  # roles were checked
                max_tokens=options.max_length,
                temperature=options.temperature,
                seed=options.seed if options.seed is not None else omit,
                stop=list(options.stop[:_MAX_STOPS]) or omit,
                stream=True,
            )
            try:
                on_interruptible(partial(_hang_up, stream.response))
                return self._read(stream, emit)
            finally:
                stream.response.close()

    def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _only_ours(self, request: httpx2.Request) -> None:
        """Drop what the client adds from its environment (organisation, project, headers of any name) or by itself."""
        for name in set(request.headers) - _SENT_HEADERS:
            del request.headers[name]
        if self._api_key is not None:
            request.headers["authorization"] = f"Bearer {self._api_key}"

    def _read(self, stream: openai.Stream[Any], emit: Emit) -> Usage:
        pieces, finished, cut = 0, False, False
        for chunk in stream:
            for choice in (chunk.choices or [])[:1]:
                piece = choice.delta.content if choice.delta is not None else None
                if piece is not None and not isinstance(piece, str):
                    raise self._malformed()
                pieces += bool(piece)
                finished = finished or choice.finish_reason is not None
                cut = cut or choice.finish_reason == "length"
                if not emit(piece or ""):
                    return Usage(prompt_tokens=None, new_tokens=pieces, cut=False)
        if not finished:
            raise GenerationError(f"{self._host!r} broke off before the end of its answer", hint="try again")
        return Usage(prompt_tokens=None, new_tokens=pieces, cut=cut)

    def _malformed(self) -> GenerationError:
        return GenerationError(
            f"{self._host!r} sent an answer that is not an OpenAI chat completion",
            hint="check that base_url ends where its API begins, often in '/v1'",
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import httpx2
        import openai

        try:
            yield
        except openai.APIStatusError as exc:
            raise self._status_error(exc) from exc
        except openai.APITimeoutError as exc:
            raise GenerationError(
                f"{self._host!r} did not answer in time", hint="try again, or raise timeout_s"
            ) from exc
        except openai.APIConnectionError as exc:
            raise GenerationError(
                f"{self._host!r} cannot be reached", hint="check base_url, and that the server runs"
            ) from exc
        except httpx2.TimeoutException as exc:
            raise GenerationError(f"{self._host!r} fell silent", hint="try again, or raise timeout_s") from exc
        except httpx2.HTTPError as exc:
            raise GenerationError(f"{self._host!r} broke off before the end of its answer", hint="try again") from exc
        except openai.APIError as exc:
            raise GenerationError(f"{self._host!r} failed while it answered") from exc
        except (ValueError, AttributeError, TypeError, KeyError) as exc:
            if isinstance(exc, SuperAdvancedAgentsError):
                raise
            raise self._malformed() from exc

    def _status_error(self, exc: openai.APIStatusError) -> SuperAdvancedAgentsError:
        status, host = exc.status_code, self._host
        if status == 401:
            return GenerationError(f"{host!r} refused the key it was sent", hint="check base_url and its api_key")
        if status == 403:
            return GenerationError(
                f"{host!r} does not allow the key it was sent to use {self._model!r}",
                hint="check model, and what the api_key of base_url may do",
            )
        if status == 404:
            return ModelNotFoundError(f"{host!r} has no model {self._model!r}", hint="check model and base_url")
        if status == 429:
            return RateLimitedError(f"{host!r} has had too many requests", retry_after_s=_retry_after_s(exc))
        if status == 503:
            return OverloadedError(f"{host!r} is overloaded", retry_after_s=_retry_after_s(exc))
        if status in {400, 413, 422}:
            return InvalidInputError(
                f"{host!r} refused the request (status {status})",
                hint="the prompt may be longer than the model's context, or an option is unknown there",
            )
        if 300 <= status < 400:
            return GenerationError(
                f"{host!r} redirects elsewhere, which is not followed with a key",
                hint="set base_url to the new address",
            )
        return GenerationError(f"{host!r} failed with status {status}")


def _hang_up(response: httpx2.Response) -> None:
    """End the wait of the thread that reads the response; closing the socket under it would not wake it."""
    network = response.extensions.get("network_stream")
    connection = network.get_extra_info("socket") if network is not None else None
    if isinstance(connection, socket.socket):
        with suppress(OSError):
            socket.socket.shutdown(
                connection, socket.SHUT_RDWR
            )  # not SSLSocket's own, which the reader would trip over


def _retry_after_s(exc: openai.APIStatusError) -> float:
    try:
        seconds = float(exc.response.headers.get("retry-after", ""))
    except ValueError:
        return _DEFAULT_RETRY_AFTER_S
    return seconds if 0 <= seconds < 86_400 else _DEFAULT_RETRY_AFTER_S
