"""A language model engine for OpenAI-compatible servers (vLLM, llama-server, Ollama)."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from super_advanced_agents._runtime.remote.openai_server import (
    access_error,
    checked_base_url,
    may_pass,
    open_client,
    refused_option,
    retry_after_s,
    said_by,
)
from super_advanced_agents._runtime.remote.proxies import proxy_variable
from super_advanced_agents.errors import (
    ConfigurationError,
    GenerationError,
    InvalidInputError,
    OverloadedError,
    SuperAdvancedAgentsError,
)
from super_advanced_agents.generation.base import Emit, GenerationEngine, GenerationOptions, OnInterruptible, Usage
from super_advanced_agents.generation.control_tokens import KNOWN, break_up
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.types import ChatMessage

if TYPE_CHECKING:
    import httpx2
    import openai

_log = get_logger("generation")

_MAX_PROMPT_BYTES = 4 * 1024 * 1024
_CONNECT_TIMEOUT_S = 10.0
_MAX_STOPS = 4
"""Stop strings sent to the server, by OpenAI's limit; `StopFilter` applies all of them here."""
_LIMIT_NAMES = ("max_tokens", "max_completion_tokens")
"""The names of the token limit; most servers take one of them only."""

_SYSTEM = "system"
_ROLE_REFUSED = re.compile(
    r"\bsystem\b[^.]{0,40}\b(?:not|n't) \w*support|\brole[^.]{0,40}\bnot support[^.]{0,20}\bsystem\b"
    r"|\bsystem role\b|\broles must alternate|\bonly user and assistant roles",
    re.IGNORECASE,
)
"""Words of a server whose model knows no role `system`, such as Gemma's."""


class OpenAIEngine(GenerationEngine):
    """Stream generated text from a server's `POST {base_url}/chat/completions`.

    Only `base_url` and `api_key` decide where requests go and with which key: the `openai` client's own environment
    variables are ignored, and redirects are not followed. A proxy of the environment is used, but never for loopback.

    An option that the server does not take at all (`max_tokens`, `temperature`, `stop`, `seed`) is left out or renamed,
    and the request is sent again; later requests begin without it. Where the model knows no role `system`, the
    instructions begin the first message. Stop strings are applied here in any case.

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
        checked_base_url(base_url)
        if not timeout_s > 0 or type(max_retries) is not int or max_retries < 0:
            raise ConfigurationError("timeout_s must be > 0 and max_retries an integer >= 0")
        self._model = model
        self._base_url = base_url
        self._host = urlsplit(base_url).netloc
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._refused: frozenset[str] = frozenset()
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

        timeout = httpx2.Timeout(self._timeout_s, connect=min(self._timeout_s, _CONNECT_TIMEOUT_S))
        with self._open_lock:
            self._client = open_client(
                self._base_url, api_key=self._api_key, timeout=timeout, max_retries=self._max_retries
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
        if self._client is None:
            raise GenerationError(f"the connection to {self._host!r} is not open")
        with self._translate_errors(messages):
            stream, sent = self._request(self._client, messages, options)
            try:
                on_interruptible(partial(_shut_down_socket, stream.response))
                limited = not sent.keys().isdisjoint(_LIMIT_NAMES)
                return self._read(stream, emit, max_pieces=None if limited else options.max_length)
            finally:
                stream.response.close()

    def close(self) -> None:
        """Close the connections to the server."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _request(
        self, client: openai.OpenAI, messages: Sequence[ChatMessage], options: GenerationOptions
    ) -> tuple[openai.Stream[Any], Mapping[str, Any]]:
        from openai import BadRequestError, UnprocessableEntityError

        while True:
            sent = self._options_to_send(options)
            plain: Any = _plain_messages(messages, system=_SYSTEM not in self._refused)
            try:
                return client.chat.completions.create(model=self._model, messages=plain, stream=True, **sent), sent
            except (BadRequestError, UnprocessableEntityError) as exc:
                name = refused_option(exc, sent) or self._refused_role(exc, messages)
                if name is None:
                    raise
                self._refused |= {name}
                _log.warning("generation.option_refused", extra={"model_id": self.model_id, "option": name})

    def _refused_role(self, exc: openai.APIError, messages: Sequence[ChatMessage]) -> str | None:
        has_system = _SYSTEM not in self._refused and any(message.role == _SYSTEM for message in messages)
        return _SYSTEM if has_system and _ROLE_REFUSED.search(said_by(exc, hidden=())) else None

    def _options_to_send(self, options: GenerationOptions) -> dict[str, Any]:
        wanted = {
            **dict.fromkeys(_LIMIT_NAMES, options.max_length),
            "temperature": options.temperature,
            "seed": options.seed,
            "stop": list(options.stop[:_MAX_STOPS]) or None,
        }
        sent = {name: value for name, value in wanted.items() if value is not None and name not in self._refused}
        if all(name in sent for name in _LIMIT_NAMES):
            del sent[_LIMIT_NAMES[1]]
        return sent

    def _read(self, stream: openai.Stream[Any], emit: Emit, *, max_pieces: int | None) -> Usage:
        # `max_pieces` bounds an answer for which the server takes no limit; a piece is a token or more.
        if "application/json" in stream.response.headers.get("content-type", ""):
            return _read_whole(stream.response, emit)
        pieces, begun, finished, cut = 0, False, False, False
        for chunk in stream:
            begun = True
            for choice in (chunk.choices or [])[:1]:
                piece = choice.delta.content if choice.delta is not None else None
                if piece is not None and not isinstance(piece, str):
                    raise self._malformed_error()
                pieces += bool(piece)
                finished = finished or choice.finish_reason is not None
                cut = cut or choice.finish_reason == "length"
                if not emit(piece or ""):
                    return Usage(prompt_tokens=None, new_tokens=pieces, cut=False)
                if pieces == max_pieces and not finished:
                    return Usage(prompt_tokens=None, new_tokens=pieces, cut=True)
        if not finished:
            raise self._broken_off_error() if begun else self._malformed_error()
        return Usage(prompt_tokens=None, new_tokens=pieces, cut=cut)

    def _broken_off_error(self) -> GenerationError:
        return GenerationError(
            f"{self._host!r} broke off before the end of its answer", hint="try again", retryable=True
        )

    def _malformed_error(self) -> GenerationError:
        return GenerationError(
            f"{self._host!r} sent an answer that is not an OpenAI chat completion",
            hint="check that base_url ends where its API begins, often in '/v1'",
        )

    @contextmanager
    def _translate_errors(self, messages: Sequence[ChatMessage]) -> Iterator[None]:
        import httpx2
        import openai

        try:
            yield
        except openai.APIStatusError as exc:
            raise self._with_words(self._status_error(exc), exc, messages) from exc
        except openai.APITimeoutError as exc:
            raise GenerationError(
                f"{self._host!r} did not answer in time", hint="try again, or raise timeout_s", retryable=True
            ) from exc
        except openai.APIConnectionError as exc:
            proxy = proxy_variable(self._base_url)
            through = "" if proxy is None else f", and the proxy in {proxy}"
            raise GenerationError(
                f"{self._host!r} cannot be reached",
                hint=f"check base_url, that the server runs{through}",
                retryable=True,
            ) from exc
        except httpx2.TimeoutException as exc:
            raise GenerationError(
                f"{self._host!r} stopped sending data in time", hint="try again, or raise timeout_s", retryable=True
            ) from exc
        except httpx2.HTTPError as exc:
            raise self._broken_off_error() from exc
        except openai.APIError as exc:
            raise self._with_words(GenerationError(f"{self._host!r} failed while it answered"), exc, messages) from exc
        except (ValueError, AttributeError, TypeError, KeyError) as exc:
            if isinstance(exc, SuperAdvancedAgentsError):
                raise
            raise self._malformed_error() from exc

    def _with_words(
        self, error: SuperAdvancedAgentsError, exc: openai.APIError, messages: Sequence[ChatMessage]
    ) -> SuperAdvancedAgentsError:
        error.said = said_by(exc, hidden=[self._api_key, *(message.content for message in messages)])
        # A server's caller gets the error without these words, and its operator may see nothing of it elsewhere.
        _log.warning("generation.server_refused", extra={"model_id": self.model_id, "reason": str(error)})
        return error

    def _status_error(self, exc: openai.APIStatusError) -> SuperAdvancedAgentsError:
        status, host = exc.status_code, self._host
        refused = access_error(exc, repr(host), self._model, error=GenerationError, use="use")
        if refused is not None:
            return refused
        if status == 503:
            return OverloadedError(f"{host!r} is overloaded", retry_after_s=retry_after_s(exc))
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
        return GenerationError(f"{host!r} failed with status {status}", retryable=may_pass(status))


def _read_whole(response: httpx2.Response, emit: Emit) -> Usage:
    # A server that cannot stream sends its answer whole.
    choice = orjson.loads(response.read())["choices"][0]
    text = choice["message"]["content"]
    if not isinstance(text, str):
        raise TypeError("the answer has no text")
    emit(text)
    return Usage(prompt_tokens=None, new_tokens=1, cut=choice.get("finish_reason") == "length")


def _plain_messages(messages: Sequence[ChatMessage], *, system: bool) -> list[dict[str, str]]:
    # Without the role `system`, its text is the user's, and messages of the user that follow each other are joined.
    plain: list[dict[str, str]] = []
    for message in messages:
        role = "user" if message.role == _SYSTEM and not system else message.role
        content = break_up(message.content, KNOWN)
        if not system and plain and plain[-1]["role"] == role:
            plain[-1]["content"] += f"\n\n{content}"
        else:
            plain.append({"role": role, "content": content})
    return plain


def _shut_down_socket(response: httpx2.Response) -> None:
    # This wakes the thread that reads from the socket; closing the socket would not.
    network = response.extensions.get("network_stream")
    connection = network.get_extra_info("socket") if network is not None else None
    if isinstance(connection, socket.socket):
        with suppress(OSError):
            socket.socket.shutdown(
                connection, socket.SHUT_RDWR
            )  # not SSLSocket's own, which the reader would trip over
