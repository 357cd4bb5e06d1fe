"""The forms of single settings, checked where they are read."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode


def _parse_list(value: object) -> object:
    # an environment variable holds items separated by commas or line ends, or a JSON array
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError as exc:
            raise ValueError("a list must be texts separated by commas, or JSON") from exc
    return [item.strip() for item in re.split(r"[,\n]", value) if item.strip()]


TextList: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_list)]
OptionalList: TypeAlias = Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(_parse_list)]
OptionalSecrets: TypeAlias = Annotated[tuple[SecretStr, ...] | None, NoDecode, BeforeValidator(_parse_list)]

_QUEUE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_QUEUES = "queues must be names with a number from 1 to 1024, such as 'default=8,bulk=1'"


def _parse_queues(value: object) -> object:
    if not isinstance(value, str) or value.lstrip().startswith("{"):
        return json.loads(value) if isinstance(value, str) else value
    pairs = [item.strip().partition("=") for item in value.split(",") if item.strip()]
    if not all(slots.strip().isdecimal() for _, _, slots in pairs):
        raise ValueError(_QUEUES)
    return {name: slots for name, _, slots in pairs}


def _check_queues(queues: dict[str, int]) -> dict[str, int]:
    for name, slots in queues.items():
        if _QUEUE.fullmatch(name) is None or not 1 <= slots <= 1_024:
            raise ValueError(_QUEUES)
    return queues


Queues: TypeAlias = Annotated[dict[str, int], NoDecode, BeforeValidator(_parse_queues), AfterValidator(_check_queues)]


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if re.fullmatch(r"https?://[^/?#@\s]+", origin) is None:
            raise ValueError("an origin must be a scheme and a host only, such as 'https://app.example.org'")
    return origins


def _check_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:  # others would be compared with what `Host` never holds, and refuse every request
        if re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host) is None:
            raise ValueError(
                f"{host!r} is not the name or address of a host, such as memory.example.org or [fd00::1]; it has no "
                "scheme, port or wildcard"
            )
    return hosts


def _check_proxies(proxies: tuple[str, ...]) -> tuple[str, ...]:
    for proxy in proxies:
        try:
            network = ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            raise ValueError("a proxy must be an address or a network, such as 10.0.0.0/8") from None
        if network.prefixlen == 0:
            raise ValueError(f"{proxy} would let every caller choose its own address")
    return proxies


def _check_root_path(path: str) -> str:
    path = path.rstrip("/")
    if re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*", path) is None:
        raise ValueError("it must be a path such as /saa")
    return path


Hosts: TypeAlias = Annotated[TextList, AfterValidator(_check_hosts)]
"""Names and addresses of hosts without ports."""

Origins: TypeAlias = Annotated[TextList, AfterValidator(_check_origins)]
"""Origins of pages: a scheme, a host and a port each."""

Proxies: TypeAlias = Annotated[TextList, AfterValidator(_check_proxies)]
"""Addresses and networks of reverse proxies, none of which holds every address."""

RootPath: TypeAlias = Annotated[str, AfterValidator(_check_root_path)]
"""A path without a slash at its end; empty for none."""


def is_loopback(host: str) -> bool:
    """Return whether `host` is a loopback address, which only this machine can reach."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
