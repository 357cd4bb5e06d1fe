"""HTTP clients that reach other servers directly or through the environment's proxy."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from super_advanced_agents.errors import ConfigurationError

if TYPE_CHECKING:
    import httpx2

ClientT = TypeVar("ClientT", "httpx2.Client", "httpx2.AsyncClient")


def new_client(kind: type[ClientT], url: str, **options: Any) -> ClientT:
    """Create an HTTP client for one server, which uses the proxy of the environment if it must.

    Loopback is never reached through a proxy, which would look for the server on its own machine; neither are the hosts
    in `NO_PROXY`. Redirects are not followed.

    Args:
        kind: `httpx2.Client` or `httpx2.AsyncClient`.
        url: the address of the server.
        options: further arguments of the client.

    Raises:
        ConfigurationError: the environment names a proxy that cannot be used.
    """
    import httpx2

    options["follow_redirects"] = False
    variable = proxy_variable(url)
    if variable is None:
        # Without `trust_env` the client would not heed SSL_CERT_FILE either; a context made here does.
        return kind(trust_env=False, verify=httpx2.create_ssl_context(), **options)
    try:
        return kind(**options)
    except ImportError as exc:
        raise socks_error() from exc
    except (ValueError, httpx2.InvalidURL) as exc:
        raise ConfigurationError(
            f"{variable} is not the address of a proxy",
            hint="write it like http://proxy.example:3128, or name the server in NO_PROXY",
        ) from exc


def proxy_variable(url: str) -> str | None:
    """Return the environment variable that names the proxy for a URL; None if there is none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_this_machine(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    name = next((name for name in (parts.scheme, "all") if proxies.get(name)), None)
    return None if name is None else f"{name.upper()}_PROXY"


def socks_error() -> ConfigurationError:
    """Return the error for a SOCKS proxy in the environment, when the package for it is missing."""
    variables = [f"{name.upper()}_PROXY" for name, proxy in getproxies().items() if proxy.startswith("socks")]
    return ConfigurationError(
        f"{' and '.join(sorted(variables)) or 'the environment'} names a SOCKS proxy, for which a package is missing",
        hint="pip install 'super-advanced-agents[socks]', or unset the variable",
    )


def is_this_machine(host: str) -> bool:
    """Return whether a host name or an address means this machine; names are not looked up."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761
        return True
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified
