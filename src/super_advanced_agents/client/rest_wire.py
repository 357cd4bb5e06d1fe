"""HTTP as a transport: connections kept between calls, in the loop that clients share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import orjson

from super_advanced_agents._runtime.loops import LoopThread
from super_advanced_agents._runtime.tickets import Ticket
from super_advanced_agents.client.address import Door
from super_advanced_agents.client.faults import of_response, too_late, unreachable
from super_advanced_agents.client.rest_requests import RestRequest
from super_advanced_agents.client.wire import Request, Response, Stream, Traffic, Wire
from super_advanced_agents.errors import ConfigurationError, EngineUnavailableError
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
        """There are none: batches and pages follow one another."""
        raise NotImplementedError(method.name)

    def close(self) -> None:
        """See `Wire.close`."""
        self._traffic.finish()
        if self._client is not None and self._loop is not None:
            self._loop.submit(self._client.aclose).wait()

    async def _send(self, asked: RestRequest, response: type[Response], timeout_s: float, key: str | None) -> Response:
        import httpx2

        assert self._client is not None, "opened first"
        url = self._door.address.url
        headers = {} if asked.body is None else {"content-type": "application/json"}
        if key is not None:
            headers["idempotency-key"] = key
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._client.request(asked.verb, asked.path, content=asked.body, headers=headers)
        except TimeoutError as exc:
            raise too_late(url, timeout_s) from exc
        except httpx2.TransportError as exc:
            raise unreachable(url, type(exc).__name__) from exc
        except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
            raise ConfigurationError(f"the server {url!r} cannot be asked ({type(exc).__name__})") from exc
        if not answer.is_success:
            raise of_response(answer.status_code, answer.headers, answer.content, url)
        try:
            read = asked.read(orjson.loads(answer.content) if answer.content else None)
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise EngineUnavailableError(f"the server {url!r} gave an answer that cannot be read") from exc
        assert isinstance(read, response)
        return read
