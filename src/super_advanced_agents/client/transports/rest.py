"""The client's REST transport: pooled HTTP connections in an event loop that clients share."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

import orjson

from super_advanced_agents._runtime.concurrency.futures import Future
from super_advanced_agents._runtime.concurrency.loop_thread import LoopThread
from super_advanced_agents.client.transports.address import ConnectionSettings
from super_advanced_agents.client.transports.base import MAX_ANSWER_BYTES, InFlightCalls, RemoteCall, Stream, Transport
from super_advanced_agents.client.transports.error_mapping import (
    ForeignAnswerError,
    error_of_response,
    names_error,
    timeout_error,
    too_long_answer_error,
    unreachable_error,
    untrusted_error,
)
from super_advanced_agents.errors import ConfigurationError, ResourceClosedError
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.job_requests import AddPartRequest
from super_advanced_agents.protocol.json_codec import json_of_request, result_of_json
from super_advanced_agents.protocol.operations import PATH_PARAMETER, Operation
from super_advanced_agents.stores.requests import GetRequest, ScanRequest
from super_advanced_agents.telemetry import outgoing_headers
from super_advanced_agents.types import AnswerEvent, Match

if TYPE_CHECKING:
    import httpx2

_OVER_REST = {ops.ASK_STREAM.name: ops.ASK, ops.AGENT_CHAT_STREAM.name: ops.AGENT_CHAT}
"""The operations of REST whose answers are streams on demand."""

_BYTES = "application/octet-stream"
_BODILESS = frozenset({"GET", "DELETE"})
_CLOSE_CYCLES = 3
_CONNECTIONS = 64
_KEEPALIVE_EXPIRY_S = 20.0  # shorter than at servers, so that few calls use a connection that is about to be closed


class RestTransport(Transport):
    """Send calls to one server as REST requests over a pool of HTTP connections.

    Redirects are not followed, so that the key is sent to the configured address only.

    Args:
        settings: the address, the credential and the trusted certificates.
    """

    streams = False

    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._in_flight = InFlightCalls()
        self._client: httpx2.AsyncClient | None = None
        self._loop: LoopThread | None = None

    def open(self, loop: LoopThread) -> None:
        """Create the HTTP client; the first call connects. Blocks while it reads certificates."""
        import httpx2

        self._loop = loop
        self._client = httpx2.AsyncClient(
            base_url=self._settings.address.url,
            verify=self._settings.tls(),
            headers={
                **self._settings.credential,
                "accept": "application/json",
                "accept-encoding": "identity",
                "user-agent": f"super-advanced-agents/{version('super-advanced-agents')}",
            },
            timeout=None,  # each call has its own
            trust_env=False,  # no proxy and no .netrc may see the key
            follow_redirects=False,
            limits=httpx2.Limits(
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_CONNECTIONS,
                keepalive_expiry=_KEEPALIVE_EXPIRY_S,
            ),
        )

    def call(self, call: RemoteCall[object], *, timeout_s: float, key: str | None) -> Future[Any]:
        """Send an HTTP request and return its result's future; cancelling it aborts the request."""
        http_request = replace(_http_request(call), headers=outgoing_headers())
        assert self._loop is not None, "opened first"

        async def send() -> Any:
            self._in_flight.enter()
            try:
                return await self._send(call, http_request, timeout_s, key)
            finally:
                self._in_flight.leave()

        return self._loop.submit(send)

    def stream(self, operation: Operation, result: Any) -> Stream[Any]:
        """Return a `Stream` that sends one request and reads the answer as server-sent events."""
        del operation, result  # REST streams answers only, as `AnswerEvent`
        assert self._loop is not None, "opened first"
        assert self._client is not None, "opened first"
        self._in_flight.enter()
        return _EventStream(self._client, self._loop, self._settings, self._in_flight.leave)

    def close(self) -> None:
        """Refuse new calls, wait up to 10 seconds for those in flight, then disconnect. Blocks."""
        self._in_flight.finish()
        if self._client is not None and self._loop is not None:
            self._loop.submit(partial(_close_client, self._client)).wait()

    async def _send(
        self, call: RemoteCall[object], http_request: _HttpRequest, timeout_s: float, key: str | None
    ) -> Any:
        assert self._client is not None, "opened first"
        url = self._settings.address.url
        with _map_transport_errors(url, timeout_s):
            async with asyncio.timeout(timeout_s):
                response = await self._client.send(_build_request(self._client, http_request, key), stream=True)
                body = await _read_body(response, url)
        if response.is_success:
            with _map_parse_errors(url):
                return _result(call, orjson.loads(body) if body else None)
        if response.status_code == HTTPStatus.NOT_FOUND and not names_error(body):
            if call.operation is ops.UPDATE_MEMORY:
                return False
            if call.operation is ops.GET_MEMORY:
                return None
        raise error_of_response(response.status_code, response.headers, body, url)


class _EventStream(Stream[AnswerEvent]):
    def __init__(
        self,
        client: httpx2.AsyncClient,
        loop: LoopThread,
        settings: ConnectionSettings,
        on_end: Callable[[], None],
    ) -> None:
        self._client = client
        self._loop = loop
        self._url = settings.address.url
        self._on_end: Callable[[], None] | None = on_end
        self._http_request: _HttpRequest | None = None
        self._response: httpx2.Response | None = None

    def send(self, call: RemoteCall[object]) -> None:
        operation = _OVER_REST[call.operation.name]
        http_request = _http_request(RemoteCall(operation, call.target, call.request), stream=True)
        self._http_request = replace(http_request, headers=outgoing_headers())

    def finish(self) -> None:
        pass  # there is one request

    async def answers(self, *, timeout_s: float) -> AsyncGenerator[AnswerEvent, None]:
        http_request = self._http_request
        assert http_request is not None, "sent first"
        lines = await self._loop.submit(lambda: self._begin(http_request, timeout_s))
        while (received := await self._loop.submit(lambda: self._read_event(lines, timeout_s))) is not None:
            with _map_parse_errors(self._url):
                event = _event_of(*received)
            yield event

    def cancel(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        response = self._response
        if response is not None:
            with suppress(ResourceClosedError):  # the loop has ended, and the connection with it
                self._loop.submit(response.aclose)
        on_end()

    async def _begin(self, http_request: _HttpRequest, timeout_s: float) -> AsyncIterator[str]:
        with _map_transport_errors(self._url, timeout_s):
            request = _build_request(self._client, http_request, None)
            async with asyncio.timeout(timeout_s):
                response = self._response = await self._client.send(request, stream=True)
                if not response.is_success:
                    body = await _read_body(response, self._url)
                    raise error_of_response(response.status_code, response.headers, body, self._url)
        return _lines(response, self._url)

    async def _read_event(self, lines: AsyncIterator[str], timeout_s: float) -> tuple[str, dict[str, Any]] | None:
        name = ""
        with _map_transport_errors(self._url, timeout_s):
            async with asyncio.timeout(timeout_s):
                async for line in lines:
                    member, _, value = line.partition(": ")
                    if member == "event":
                        name = value
                    elif member == "data":
                        if name == "error":
                            raise error_of_response(
                                HTTPStatus.BAD_GATEWAY,
                                {"content-type": "application/problem+json"},
                                value.encode(),
                                self._url,
                            )
                        with _map_parse_errors(self._url):
                            return name, orjson.loads(value)
        return None


async def _read_body(response: httpx2.Response, url: str) -> bytes:
    parts: list[bytes] = []
    size_bytes = 0
    try:
        async for part in response.aiter_raw():
            size_bytes += len(part)
            _check_size(size_bytes, url)
            parts.append(part)
    finally:
        await response.aclose()  # before its end, this closes the connection
    return b"".join(parts)


async def _lines(response: httpx2.Response, url: str) -> AsyncIterator[str]:
    # without their line feeds
    line = bytearray()
    async for part in response.aiter_raw():
        *ended, rest = part.split(b"\n")
        for end in ended:
            _check_size(len(line) + len(end), url)
            yield (line + end).decode(errors="replace").removesuffix("\r")
            line.clear()
        line += rest
        _check_size(len(line), url)
    if line:
        yield line.decode(errors="replace")


def _check_size(size_bytes: int, url: str) -> None:
    if size_bytes > MAX_ANSWER_BYTES:
        raise too_long_answer_error(url)


async def _close_client(client: httpx2.AsyncClient) -> None:
    await client.aclose()
    for _ in range(_CLOSE_CYCLES):  # a connection cancelled in its handshake is closed in the loop's next iterations
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class _HttpRequest:
    verb: str
    path: str  # percent-encoded
    body: bytes | None
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)  # of the caller's request and trace


def _http_request(call: RemoteCall[object], **members: Any) -> _HttpRequest:
    # A uid that is in the path is left out of the body.
    if isinstance(call.request, AddPartRequest):  # the bytes of the part are the body
        part = call.request
        path = PATH_PARAMETER.sub(_percent_encoded(call.target), call.operation.path)
        return _HttpRequest(call.operation.verb, f"{path}?offset={part.offset}", part.data, media_type=_BYTES)
    operation, body = call.operation, json_of_request(call.request) | members

    def value_of(parameter: re.Match[str]) -> str:
        return _percent_encoded(str(body.pop("uid")) if parameter[1] == "uid" else call.target)

    path = PATH_PARAMETER.sub(value_of, operation.path)
    if isinstance(call.request, GetRequest | ScanRequest):
        body["vectors"] = "base64"
    if operation.verb in _BODILESS:
        return _HttpRequest(
            operation.verb, f"{path}?{urlencode(body)}" if body and operation.verb == "GET" else path, None
        )
    return _HttpRequest(operation.verb, path, orjson.dumps(body))


def _percent_encoded(name: str) -> str:
    return quote(name, safe="").replace(".", "%2E")  # `..` would be normalized away as a path segment


def _result(call: RemoteCall[object], body: Any) -> Any:
    if call.operation is ops.UPDATE_MEMORY:
        return True  # the body is the updated memory; a missing one is a 404
    if call.operation.reply and call.operation is not ops.GET_MEMORY:  # the body of GET_MEMORY is the memory itself
        body = body[call.operation.reply]
    return result_of_json(body, call.result_type)


def _event_of(name: str, data: dict[str, Any]) -> AnswerEvent:
    if name == "sources":
        return AnswerEvent(sources=result_of_json(data["results"], list[Match]))
    if name == "text":
        return AnswerEvent(text=data["text"])
    return cast("AnswerEvent", result_of_json({**data, "done": data["text"], "text": None}, AnswerEvent))


def _build_request(client: httpx2.AsyncClient, http_request: _HttpRequest, key: str | None) -> httpx2.Request:
    headers = dict(http_request.headers)
    if http_request.body is not None:
        headers["content-type"] = http_request.media_type
    if key is not None:
        headers["idempotency-key"] = key
    return client.build_request(http_request.verb, http_request.path, content=http_request.body, headers=headers)


@contextmanager
def _map_transport_errors(url: str, timeout_s: float) -> Iterator[None]:
    import httpx2

    try:
        yield
    except TimeoutError as exc:
        raise timeout_error(url, timeout_s) from exc
    except httpx2.TransportError as exc:
        if _has_cause(exc, ssl.SSLCertVerificationError):
            raise untrusted_error(url) from exc
        raise unreachable_error(url, type(exc).__name__) from exc
    except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
        raise ConfigurationError(f"no request can be made to the server {url!r} ({type(exc).__name__})") from exc


def _has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


@contextmanager
def _map_parse_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise ForeignAnswerError(
            f"the server {url!r} gave an answer that cannot be read", hint="check the address"
        ) from exc
