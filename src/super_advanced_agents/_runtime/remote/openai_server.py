"""The client of an OpenAI-compatible server, and functions that read its refusals."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from super_advanced_agents._runtime.remote.proxies import new_client
from super_advanced_agents.errors import (
    ConfigurationError,
    ModelNotFoundError,
    RateLimitedError,
    SuperAdvancedAgentsError,
)

if TYPE_CHECKING:
    import httpx2
    import openai

_SENT_HEADERS = {
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
}
_TRANSIENT = frozenset({408, 409, 425})
_DEFAULT_RETRY_AFTER_S = 1.0
_MAX_RETRY_AFTER_S = 86_400.0
_MAX_SAID_CHARS = 300
_MIN_HIDDEN_CHARS = 8
"""Shorter texts stay in a server's words, which would otherwise lose ordinary ones."""
_MESSAGE_MEMBERS = ("message", "msg", "detail", "error", "errors", "title")
_NOT_TAKEN = re.compile(
    r"unsupported|(not|n't) support|only .*support|unrecogni[sz]ed|unknown|unexpected|deprecated|no longer|extra"
    r"|not (permitted|allowed|available|accepted|recogni[sz]ed)|only the default"
    r"|temperature\W.{0,20}(strictly positive|greater than 0|> 0)",
    re.IGNORECASE,
)
"""Words of a server about an option that it never takes, or about a temperature of 0."""


def checked_base_url(base_url: str) -> str:
    """Validate the URL of an OpenAI-compatible API, and return it.

    Raises:
        ConfigurationError: it is not an http(s) URL, or contains credentials.
    """
    parts = urlsplit(base_url)
    if parts.username or parts.password:
        raise ConfigurationError("base_url must not hold a user or a password", hint="give the key as api_key")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(
            f"base_url {base_url!r} is not an http or https address", hint="such as 'http://127.0.0.1:8080/v1'"
        )
    return base_url


def open_client(base_url: str, *, api_key: str | None, timeout: httpx2.Timeout, max_retries: int) -> openai.OpenAI:
    """Create the client of an OpenAI-compatible server, which connects at the first request.

    Only the arguments decide where requests go and with which key: the client's own variables in the environment are
    ignored, and redirects are not followed.

    Raises:
        ConfigurationError: the environment names a proxy that cannot be used.
    """
    import httpx2
    import openai

    def set_headers(request: httpx2.Request) -> None:
        _set_headers(request, api_key)

    return openai.OpenAI(
        api_key=api_key or "none",  # the client requires one; `_set_headers` decides what is sent
        base_url=base_url,
        timeout=timeout,
        max_retries=max_retries,
        http_client=new_client(httpx2.Client, base_url, timeout=timeout, event_hooks={"request": [set_headers]}),
    )


def open_async_client(base_url: str, *, api_key: str | None, timeout: httpx2.Timeout) -> openai.AsyncOpenAI:
    """Create a client as `open_client` does, for an event loop; it sends a request once only.

    Raises:
        ConfigurationError: the environment names a proxy that cannot be used.
    """
    import httpx2
    import openai

    async def set_headers(request: httpx2.Request) -> None:
        _set_headers(request, api_key)

    return openai.AsyncOpenAI(
        api_key=api_key or "none",
        base_url=base_url,
        timeout=timeout,
        max_retries=0,
        http_client=new_client(httpx2.AsyncClient, base_url, timeout=timeout, event_hooks={"request": [set_headers]}),
    )


def said_by(error: openai.APIError, *, hidden: Iterable[str | None]) -> str:
    """Return a server's own words about an error, in one line of at most 300 characters.

    Args:
        error: the client's error.
        hidden: keys and texts that were sent, which some servers repeat; they are replaced by an ellipsis.
    """
    said = " ".join(_message_in(error.body).split())
    for text in hidden:
        plain = " ".join((text or "").split())
        if len(plain) >= _MIN_HIDDEN_CHARS:
            said = said.replace(plain, "…")
    said = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in said)
    return said if len(said) <= _MAX_SAID_CHARS else said[: _MAX_SAID_CHARS - 1] + "…"


def refused_option(error: openai.APIError, sent: Collection[str]) -> str | None:
    """Return the option of a request that the server does not take, or None.

    None means that it refused something else.

    Args:
        error: the client's error for the request.
        sent: the names of the options that were sent.
    """
    said = _message_in(error.body)
    code = error.code or ""
    if not _NOT_TAKEN.search(f"{code.replace('_', ' ')} {said}"):
        return None
    if isinstance(error.param, str) and error.param in sent:
        return error.param
    return next((name for name in sent if re.search(rf"\b{name}\b", said)), None)


def access_error(
    exc: openai.APIStatusError, server: str, model: str, *, error: type[SuperAdvancedAgentsError], use: str
) -> SuperAdvancedAgentsError | None:
    """Return the error for a refused key, an unknown model or too many requests.

    It is None for every other status. A refused key is no `AuthenticationError`: a server would report that to its
    caller, whose key is another one.

    Args:
        exc: the client's error.
        server: the server, as messages name it.
        model: the model that was asked for.
        error: the class of the error where the key is refused.
        use: what the key was to do, such as `"embed with"`.
    """
    match exc.status_code:
        case 401:
            return error(f"{server} refused the key it was sent", hint="check base_url and its api_key")
        case 403:
            return error(
                f"{server} does not allow the key it was sent to {use} {model!r}",
                hint="check model, and what the api_key of base_url may do",
            )
        case 404:
            return ModelNotFoundError(f"{server} has no model {model!r}", hint="check model and base_url")
        case 429:
            return RateLimitedError(f"{server} received too many requests", retry_after_s=retry_after_s(exc))
    return None


def may_pass(status: int) -> bool:
    """Return whether the same request may succeed after an answer with this status."""
    return status >= 500 or status in _TRANSIENT


def retry_after_s(error: openai.APIStatusError) -> float:
    """Return the pause in seconds that a server asks for; 1 if it names none, or a date."""
    try:
        seconds = float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return _DEFAULT_RETRY_AFTER_S
    return seconds if 0 <= seconds < _MAX_RETRY_AFTER_S else _DEFAULT_RETRY_AFTER_S


def _set_headers(request: httpx2.Request, api_key: str | None) -> None:
    # The client adds headers from its environment (organisation, project, headers of any name) and by itself.
    for name in set(request.headers) - _SENT_HEADERS:
        del request.headers[name]
    if api_key is not None:
        request.headers["authorization"] = f"Bearer {api_key}"


def _message_in(body: object) -> str:
    # OpenAI: {"message": ...}; FastAPI: {"detail": [{"loc": [...], "msg": ...}]}, whose "input" quotes the request.
    if isinstance(body, str):
        return "" if body.lstrip().startswith("<") else body  # a page of a proxy
    if isinstance(body, Mapping):
        message = next((found for name in _MESSAGE_MEMBERS if (found := _message_in(body.get(name)))), "")
        place = body.get("loc")
        return f"{'.'.join(map(str, place))}: {message}" if message and isinstance(place, list) else message
    if isinstance(body, list):
        return "; ".join(message for item in body[:3] if (message := _message_in(item)))
    return ""
