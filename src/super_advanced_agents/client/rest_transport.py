"""HTTP as a transport: connections kept between calls, in the loop that clients share."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from super_advanced_agents._runtime.futures import Future
from super_advanced_agents._runtime.loop_thread import LoopThread
from super_advanced_agents.client.address import ConnectionSettings
from super_advanced_agents.client.error_mapping import names_error, of_response, too_late, unreachable
from super_advanced_agents.client.transport import InFlightCalls, RemoteCall, Stream, Transport
from super_advanced_agents.errors import ConfigurationError, EngineUnavailableError, ResourceClosedError
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.json_codec import json_of_request, result_of_json
from super_advanced_agents.protocol.operations import PATH_PARAMETER, Operation
from super_advanced_agents.protocol.requests import AnswerEvent
from super_advanced_agents.stores.requests import GetRequest, ScanRequest
from super_advanced_agents.types import Match

if TYPE_CHECKING:
    import httpx2

_BODILESS = frozenset({"GET", "DELETE"})
_TURNS = 3
_CONNECTIONS = 64
_KEPT_S = 20.0  # less than servers keep them, so that few calls meet a connection that is about to be closed


class RestTransport(Transport):
    """One pool of connections to one server. Redirects are not followed: a key goes nowhere but to the address.

    Args:
        door: where it is, and how to get in.
    """

    streams = False

    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._traffic = InFlightCalls()
        self._client: httpx2.AsyncClient | None = None
        self._loop: LoopThread | None = None

    def open(self, loop: LoopThread) -> None:
        """See `Transport.open`."""
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
                max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=_KEPT_S
            ),
        )

    def call(self, call: RemoteCall, *, timeout_s: float, key: str | None) -> Future[Any]:
        """See `Transport.call`."""
        asked = _http_request(call)
        assert self._loop is not None, "opened first"

        async def send() -> Any:
            self._traffic.enter()
            try:
                return await self._send(call, asked, timeout_s, key)
            finally:
                self._traffic.leave()

        return self._loop.submit(send)

    def stream(self, operation: Operation, result: Any) -> Stream[Any]:
        """Events that answer one request; there are no others."""
        del operation, result  # what is sent says it
        assert self._loop is not None, "opened first"
        assert self._client is not None, "opened first"
        self._traffic.enter()
        return _Events(self._client, self._loop, self._settings, self._traffic.leave)

    def close(self) -> None:
        """See `Transport.close`."""
        self._traffic.finish()
        if self._client is not None and self._loop is not None:
            self._loop.submit(partial(_closed, self._client)).wait()

    async def _send(self, call: RemoteCall, asked: _HttpRequest, timeout_s: float, key: str | None) -> Any:
        assert self._client is not None, "opened first"
        url = self._settings.address.url
        with _translated(url, timeout_s):
            async with asyncio.timeout(timeout_s):
                answer = await self._client.send(_built(self._client, asked, key))
        if answer.is_success:
            with _readable(url):
                return _result(call, orjson.loads(answer.content) if answer.content else None)
        if answer.status_code == HTTPStatus.NOT_FOUND and not names_error(answer.content):
            if call.operation is ops.UPDATE_MEMORY:
                return False
            if call.operation is ops.GET_MEMORY:
                return None
        raise of_response(answer.status_code, answer.headers, answer.content, url)


class _Events(Stream[AnswerEvent]):
    """Server-sent events, read one by one as they are asked for, so that no more than one waits here."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        loop: LoopThread,
        settings: ConnectionSettings,
        ended: Callable[[], None],
    ) -> None:
        self._client = client
        self._loop = loop
        self._url = settings.address.url
        self._ended: Callable[[], None] | None = ended
        self._http_request: _HttpRequest | None = None
        self._answer: httpx2.Response | None = None

    def send(self, call: RemoteCall) -> None:
        """See `Stream.send`; there is one request."""
        self._http_request = _http_request(RemoteCall(ops.ASK, call.target, call.request), stream=True)

    def finish(self) -> None:
        """Nothing to say: there is one request."""

    async def answers(self, *, timeout_s: float) -> AsyncGenerator[AnswerEvent, None]:
        """See `Stream.answers`."""
        asked = self._http_request
        assert asked is not None, "sent first"
        lines = await self._loop.submit(lambda: self._begin(asked, timeout_s))
        while (told := await self._loop.submit(lambda: self._event(lines, timeout_s))) is not None:
            with _readable(self._url):
                answer = _event_of(*told)
            yield answer

    def cancel(self) -> None:
        """See `Stream.cancel`."""
        ended, self._ended = self._ended, None
        if ended is None:
            return
        answer = self._answer
        if answer is not None:
            with suppress(ResourceClosedError):  # the loop has ended, and the connection with it
                self._loop.submit(answer.aclose)
        ended()

    async def _begin(self, asked: _HttpRequest, timeout_s: float) -> AsyncIterator[str]:
        with _translated(self._url, timeout_s):
            async with asyncio.timeout(timeout_s):
                answer = self._answer = await self._client.send(_built(self._client, asked, None), stream=True)
                if not answer.is_success:
                    raise of_response(answer.status_code, answer.headers, await answer.aread(), self._url)
        return answer.aiter_lines()

    async def _event(self, lines: AsyncIterator[str], timeout_s: float) -> tuple[str, dict[str, Any]] | None:
        name = ""
        with _translated(self._url, timeout_s):
            async with asyncio.timeout(timeout_s):
                async for line in lines:
                    member, _, value = line.partition(": ")
                    if member == "event":
                        name = value
                    elif member == "data":
                        if name == "error":
                            raise of_response(
                                HTTPStatus.BAD_GATEWAY,
                                {"content-type": "application/problem+json"},
                                value.encode(),
                                self._url,
                            )
                        with _readable(self._url):
                            return name, orjson.loads(value)
        return None


async def _closed(client: httpx2.AsyncClient) -> None:
    """End the connections; one that was given up in a handshake is closed in the loop's next turns."""
    await client.aclose()
    for _ in range(_TURNS):
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class _HttpRequest:
    """One HTTP request: its method, its percent-encoded path, and JSON or None."""

    verb: str
    path: str
    body: bytes | None


def _http_request(call: RemoteCall, **members: Any) -> _HttpRequest:
    """Return the HTTP request of a call; what its path says is not repeated in its body."""
    operation, body = call.operation, json_of_request(call.request) | members

    def said(parameter: re.Match[str]) -> str:
        return _encoded(str(body.pop("uid")) if parameter[1] == "uid" else call.target)

    path = PATH_PARAMETER.sub(said, operation.path)
    if isinstance(call.request, GetRequest | ScanRequest):
        body["vectors"] = "base64"
    return _HttpRequest(operation.verb, path, None if operation.verb in _BODILESS else orjson.dumps(body))


def _encoded(name: str) -> str:
    return quote(name, safe="").replace(".", "%2E")  # `..` would be taken for a step in the path


def _result(call: RemoteCall, told: Any) -> Any:
    """Return the result that an answer tells."""
    if call.operation is ops.UPDATE_MEMORY:
        return True  # it shows the memory
    if call.operation.reply and call.operation is not ops.GET_MEMORY:  # which shows the memory itself
        told = told[call.operation.reply]
    return result_of_json(told, call.result_type)


def _event_of(name: str, told: dict[str, Any]) -> AnswerEvent:
    if name == "sources":
        return AnswerEvent(sources=result_of_json(told["results"], list[Match]))
    return AnswerEvent(text=told["text"]) if name == "text" else AnswerEvent(done=told["text"])


def _built(client: httpx2.AsyncClient, asked: _HttpRequest, key: str | None) -> httpx2.Request:
    headers = {} if asked.body is None else {"content-type": "application/json"}
    if key is not None:
        headers["idempotency-key"] = key
    return client.build_request(asked.verb, asked.path, content=asked.body, headers=headers)


@contextmanager
def _translated(url: str, timeout_s: float) -> Iterator[None]:
    import httpx2

    try:
        yield
    except TimeoutError as exc:
        raise too_late(url, timeout_s) from exc
    except httpx2.TransportError as exc:
        raise unreachable(url, type(exc).__name__) from exc
    except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
        raise ConfigurationError(f"the server {url!r} cannot be asked ({type(exc).__name__})") from exc


@contextmanager
def _readable(url: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise EngineUnavailableError(f"the server {url!r} gave an answer that cannot be read") from exc
