"""HTTP as a transport: connections kept between calls, in the loop that clients share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Generic

import orjson

from super_advanced_agents._runtime.loops import LoopThread
from super_advanced_agents._runtime.tickets import Ticket
from super_advanced_agents.client.address import Door
from super_advanced_agents.client.faults import names_error, of_response, too_late, unreachable
from super_advanced_agents.client.rest_requests import RestRequest
from super_advanced_agents.client.wire import Request, Response, Stream, Traffic, Wire
from super_advanced_agents.errors import ConfigurationError, EngineUnavailableError, ResourceClosedError
from super_advanced_agents.protocol.methods import Method

if TYPE_CHECKING:
    import httpx2

_CONNECTIONS = 64
_KEPT_S = 20.0  # less than servers keep them, so that few calls meet a connection that is about to be closed


class RestWire(Wire):
    """One pool of connections to one server. Redirects are not followed: a key goes nowhere but to the address.

    Args:
        door: where it is, and how to get in.
        requests: how each method of the services in use is asked for, by its name.
    """

    streams = False

    def __init__(self, door: Door, requests: Mapping[str, Callable[[Any], RestRequest]]) -> None:
        self._door = door
        self._requests = requests
        self._traffic = Traffic()
        self._client: httpx2.AsyncClient | None = None
        self._loop: LoopThread | None = None

    def open(self, loop: LoopThread) -> None:
        """See `Wire.open`."""
        import httpx2

        self._loop = loop
        self._client = httpx2.AsyncClient(
            base_url=self._door.address.url,
            verify=self._door.tls(),
            headers={
                **self._door.credential,
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

    def call(
        self, method: Method[Request, Response], request: Request, *, timeout_s: float, key: str | None
    ) -> Ticket[Response]:
        """See `Wire.call`."""
        asked = self._requests[method.name](request)
        assert self._loop is not None, "opened first"

        async def send() -> Response:
            self._traffic.enter()
            try:
                return await self._send(asked, method.reply, timeout_s, key)
            finally:
                self._traffic.leave()

        return self._loop.submit(send)

    def stream(self, method: Method[Request, Response]) -> Stream[Request, Response]:
        """Events that answer one request; there are no others."""
        assert self._loop is not None, "opened first"
        assert self._client is not None, "opened first"
        self._traffic.enter()
        return _Events(self._client, self._loop, self._requests[method.name], self._door, self._traffic.leave)

    def close(self) -> None:
        """See `Wire.close`."""
        self._traffic.finish()
        if self._client is not None and self._loop is not None:
            self._loop.submit(self._client.aclose).wait()

    async def _send(self, asked: RestRequest, reply: type[Response], timeout_s: float, key: str | None) -> Response:
        assert self._client is not None, "opened first"
        url = self._door.address.url
        with _translated(url, timeout_s):
            async with asyncio.timeout(timeout_s):
                answer = await self._client.send(_built(self._client, asked, key))
        if answer.is_success:
            with _readable(url):
                read = asked.read(orjson.loads(answer.content) if answer.content else None)
        elif answer.status_code == HTTPStatus.NOT_FOUND and asked.missing and not names_error(answer.content):
            read = asked.missing
        else:
            raise of_response(answer.status_code, answer.headers, answer.content, url)
        assert isinstance(read, reply)
        return read


class _Events(Stream[Request, Response], Generic[Request, Response]):
    """Server-sent events, read one by one as they are asked for, so that no more than one waits here."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        loop: LoopThread,
        ask: Callable[[Any], RestRequest],
        door: Door,
        ended: Callable[[], None],
    ) -> None:
        self._client = client
        self._loop = loop
        self._ask = ask
        self._url = door.address.url
        self._ended: Callable[[], None] | None = ended
        self._asked: RestRequest | None = None
        self._answer: httpx2.Response | None = None

    def send(self, request: Request) -> None:
        """See `Stream.send`; there is one request."""
        self._asked = self._ask(request)

    def finish(self) -> None:
        """Nothing to say: there is one request."""

    async def answers(self, *, timeout_s: float) -> AsyncGenerator[Response, None]:
        """See `Stream.answers`."""
        asked = self._asked
        assert asked is not None, "sent first"
        lines = await self._loop.submit(lambda: self._begin(asked, timeout_s))
        while (told := await self._loop.submit(lambda: self._event(lines, timeout_s))) is not None:
            with _readable(self._url):
                answer: Any = asked.read(told)
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

    async def _begin(self, asked: RestRequest, timeout_s: float) -> AsyncIterator[str]:
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


def _built(client: httpx2.AsyncClient, asked: RestRequest, key: str | None) -> httpx2.Request:
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
