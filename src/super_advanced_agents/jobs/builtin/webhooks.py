"""Webhooks: signed JSON for a URL that a caller named, outside of this network.

The signature is that of Standard Webhooks 1.0: `webhook-signature: v1,<base64 of HMAC-SHA256>` over
`"{webhook-id}.{webhook-timestamp}.{body}"`, with the key `webhook_secret`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import socket
import time
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.errors import ConfigurationError, InvalidInputError, JobError
from super_advanced_agents.tenancy.settings import Settings
from super_advanced_agents.types import JSONValue

if TYPE_CHECKING:
    from httpx2 import URL, AsyncClient

_TIMEOUT_S = 10.0
_MAX_URL_CHARS = 2_048
_LEADING_INSIDE = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "::/96", "fec0::/10"))
)
"""Networks that lead inside: gateways send on to the IPv4 address that an address holds."""

_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


def checked_url(url: str, settings: Settings) -> str:
    """Check the URL of a webhook and that webhooks are configured; return the URL.

    Raises:
        InvalidInputError: it is no `https://` URL with a host and without a password.
        ConfigurationError: the operator has set no secret to sign with.
    """
    if settings.webhook_secret is None:
        raise ConfigurationError("webhooks are not configured", hint="the operator sets SAA_WEBHOOK_SECRET")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    schemes = ("https", "http") if settings.webhook_private else ("https",)
    if (
        parts.scheme not in schemes
        or not parts.hostname
        or "@" in parts.netloc
        or len(url) > _MAX_URL_CHARS
        or any(character <= " " for character in url)
        or port == 0
    ):
        raise InvalidInputError("webhook must be an https:// URL without a password", field="webhook")
    return url


async def call_webhook(url: str, body: Mapping[str, JSONValue], settings: Settings) -> int:
    """Send a signed JSON object to a URL; return the status. Redirects are not followed.

    Args:
        url: the URL.
        body: the object; its member `job` identifies the message, for a receiver that gets it twice.
        settings: the secret, and whether addresses of this network are allowed.

    Raises:
        JobError: it was not taken, and may be later.
        InvalidInputError: it was refused, or the URL leads to this network.
    """
    checked_url(url, settings)
    try:
        async with asyncio.timeout(2 * _TIMEOUT_S):
            return await _send(url, orjson.dumps(body), str(body["job"]), settings)
    except TimeoutError:
        raise JobError("the webhook did not answer in time", hint="the job calls it again later") from None


async def _send(url: str, data: bytes, message_id: str, settings: Settings) -> int:
    # Not in a thread: that would go on after the time limit, for as long as the receiver sends a byte now and then.
    client, target, errors = await in_thread(lambda: _client_for(url), name="webhook")
    port = target.port or (443 if target.scheme == "https" else 80)
    try:
        # The address that was checked is the one that is used: a second look-up could lead elsewhere.
        address = await in_thread(partial(_address, target.host, port, settings), name="webhook")
        headers = {"host": target.netloc.decode("ascii"), "content-type": "application/json"}
        headers |= _signature(data, message_id, settings)
        place, sni = target.copy_with(host=address), {"sni_hostname": target.host}
        async with client.stream("POST", place, content=data, headers=headers, extensions=sni) as response:
            status = response.status_code
    except errors as exc:
        raise JobError(f"the webhook cannot be reached: {type(exc).__name__}", hint="check its URL") from None
    finally:
        await client.aclose()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _AGAIN:
        raise JobError(f"the webhook answered with status {status}", hint="the job calls it again later")
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise InvalidInputError(f"the webhook answered with status {status}", field="webhook", hint="check its URL")
    return status


def _client_for(url: str) -> tuple[AsyncClient, URL, tuple[type[Exception], ...]]:
    # It reads certificates from disk, and its import takes a while.
    import httpx2

    try:
        target = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise InvalidInputError("webhook is no URL", field="webhook", hint="check the name of its host") from None
    client = httpx2.AsyncClient(trust_env=False, timeout=_TIMEOUT_S, follow_redirects=False)
    return client, target, (httpx2.HTTPError, OSError)


def _signature(data: bytes, message_id: str, settings: Settings) -> dict[str, str]:
    assert settings.webhook_secret is not None
    at = str(int(time.time()))
    signed = b".".join((message_id.encode(), at.encode(), data))
    digest = hmac.digest(settings.webhook_secret.get_secret_value().encode(), signed, hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": at,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _address(host: str, port: int, settings: Settings) -> str:
    try:
        addresses = [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        raise JobError("the host of the webhook has no address", hint="check its URL") from None
    if not settings.webhook_private and not all(map(_is_public, addresses)):
        raise InvalidInputError(
            "the webhook is an address of a private network", field="webhook", hint="the operator may allow them"
        )
    return addresses[0]


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if any(parsed in network for network in _LEADING_INSIDE):
            return False
        parsed = parsed.ipv4_mapped or parsed
    return parsed.is_global and not parsed.is_multicast
