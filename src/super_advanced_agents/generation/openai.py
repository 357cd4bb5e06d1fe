"""A language model engine for OpenAI-compatible servers (vLLM, llama-server, Ollama)."""

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
from super_advanced_agents.generation.control_tokens import KNOWN, break_up
from super_advanced_agents.types import ChatMessage

if TYPE_CHECKING:
    import httpx2
    import openai

_MAX_PROMPT_BYTES = 4 * 1024 * 1024
_CONNECT_TIMEOUT_S = 10.0
_MAX_STOPS = 4
"""Stop strings sent to the server, by OpenAI's limit; `StopFilter` applies all of them here."""
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
    """A language model engine that streams from a server's `POST {base_url}/chat/completions`.

    Only `base_url` and `api_key` decide where requests go and with which key: the `openai` client's own environment
    variables are ignored, and redirects are not followed.

    Args:
        model: the server's name of the model.
        base_url: the API's URL, such as `"http://127.0.0.1:8080/v1"`.
        api_key: the bearer token to send; when None, there is no `Authorization` header.
        timeout_s: the longest time in which the server may send nothing.
        max_retries: retries when the server is unreachable or busy, before the first token only.

    Raises:
        ConfigurationError: `base_url` is not an http(s) URL or contains credentials, or a number is out of range.
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
        self._open_lock = threading.Lock()

    @property
    def model_id(self) -> str:
        """An id made of the server's name for the model and the server's host."""
        return f"{self._model}@{self._host}"

    @property
    def max_prompt_bytes(self) -> int:
        """The maximum size of a prompt in bytes, 4 MiB.

        The server enforces the limit of the model's context.
        """
        return _MAX_PROMPT_BYTES

    def open(self) -> None:
        """Create the HTTP client, which connects at the first request."""
        import httpx2
        import openai

        timeout = httpx2.Timeout(self._timeout_s, connect=min(self._timeout_s, _CONNECT_TIMEOUT_S))
        with self._open_lock:
            self._client = openai.OpenAI(
                api_key=self._api_key or "none",  # the client requires one; `_set_headers` decides what is sent
                base_url=self._base_url,
                timeout=timeout,
                max_retries=self._max_retries,
                http_client=httpx2.Client(
                    timeout=timeout, follow_redirects=False, event_hooks={"request": [self._set_headers]}
                ),
            )

    def generate(
        self,
        messages: Sequence[ChatMessage],
        options: GenerationOptions,
        emit: Emit,
        on_interruptible: OnInterruptible,
    ) -> Usage:
        """Request the chat's next message from the server, and pass each piece to `emit`; blocks.

        Leaving early closes the HTTP response, from which the server learns to stop. Servers send token counts only on
        request, and some reject that request, so that the pieces are counted instead.

        Raises:
            RateLimitedError: status 429, after the retries.
            OverloadedError: status 503, after the retries.
            ModelNotFoundError: status 404.
            InvalidInputError: status 400, 413 or 422: the server refused the prompt or an option.
            GenerationError: the server cannot be reached, broke off, sent a malformed response or another status. This
                includes 401 and 403, which concern the key of this engine and not a key of its caller.
        """
        from openai import omit

        if self._client is None:
            raise GenerationError(f"the connection to {self._host!r} is not open")
        with self._translate_errors():
            stream: openai.Stream[Any] = self._client.chat.completions.create(  # type: ignore[assignment]  # streamed
                model=self._model,
                messages=[_plain_message(message) for message in messages],  # type: ignore[misc]  # roles were checked
                max_tokens=options.max_length,
                temperature=options.temperature,
                seed=options.seed if options.seed is not None else omit,
                stop=list(options.stop[:_MAX_STOPS]) or omit,
                stream=True,
            )
            try:
                on_interruptible(partial(_shut_down_socket, stream.response))
                return self._read(stream, emit)
            finally:
                stream.response.close()

    def close(self) -> None:
        """Close the connections to the server."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _set_headers(self, request: httpx2.Request) -> None:
        # The client adds headers from its environment (organisation, project, headers of any name) and by itself.
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
                    raise self._malformed_error()
                pieces += bool(piece)
                finished = finished or choice.finish_reason is not None
                cut = cut or choice.finish_reason == "length"
                if not emit(piece or ""):
                    return Usage(prompt_tokens=None, new_tokens=pieces, cut=False)
        if not finished:
            raise GenerationError(f"{self._host!r} broke off before the end of its answer", hint="try again")
        return Usage(prompt_tokens=None, new_tokens=pieces, cut=cut)

    def _malformed_error(self) -> GenerationError:
        return GenerationError(
            f"{self._host!r} sent an answer that is not an OpenAI chat completion",
            hint="check that base_url ends where its API begins, often in '/v1'",
        )

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
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
            raise GenerationError(
                f"{self._host!r} stopped sending data in time", hint="try again, or raise timeout_s"
            ) from exc
        except httpx2.HTTPError as exc:
            raise GenerationError(f"{self._host!r} broke off before the end of its answer", hint="try again") from exc
        except openai.APIError as exc:
            raise GenerationError(f"{self._host!r} failed while it answered") from exc
        except (ValueError, AttributeError, TypeError, KeyError) as exc:
            if isinstance(exc, SuperAdvancedAgentsError):
                raise
            raise self._malformed_error() from exc

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
            return RateLimitedError(f"{host!r} received too many requests", retry_after_s=_retry_after_s(exc))
        if status == 503:
            return OverloadedError(f"{host!r} is overloaded", retry_after_s=_retry_after_s(exc))
        if status in {400, 413, 422}:
            return InvalidInputError(
                f"{host!r} refused the request (status {status})",
                hint="the prompt may be longer than the model's context, or an option is unknown there",
            )
        if 300 <= status < 400:
            return GenerationError(
                f"{host!r} redirects to another address, which is not followed",
                hint="set base_url to the new address",
            )
        return GenerationError(f"{host!r} failed with status {status}")


def _plain_message(message: ChatMessage) -> dict[str, str]:
    return {"role": message.role, "content": break_up(message.content, KNOWN)}


def _shut_down_socket(response: httpx2.Response) -> None:
    # This wakes the thread that reads from the socket; closing the socket would not.
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
