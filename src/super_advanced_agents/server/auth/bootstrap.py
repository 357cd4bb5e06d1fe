"""Checks at server start that callers are authenticated, and creation of the first API key."""

from __future__ import annotations

import os

from super_advanced_agents._runtime.concurrency.futures import in_thread
from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.errors import ConfigurationError, SuperAdvancedAgentsError
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.auth.key_source import has_keys, open_keys
from super_advanced_agents.server.auth.key_store import checked_key_id
from super_advanced_agents.server.auth.rotation import put_given_key
from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.configuration.values import is_loopback
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.data_folder.recording import record_entry
from super_advanced_agents.tenancy.settings import Settings

_log = get_logger("server")


async def aput_given_keys(settings: Settings) -> None:
    """Store the keys that the settings give, `admin_key` and `metrics_key`, if they are new.

    Raises:
        ConfigurationError: one cannot be used.
        StoreError: one was not stored.
    """
    given = {
        name: (key.get_secret_value(), scope)
        for name, key, scope in (
            ("admin_key", settings.admin_key, Access.ADMIN),
            ("metrics_key", settings.metrics_key, Access.METRICS),
        )
        if key is not None
    }
    if given and settings.auth:
        await in_thread(lambda: _put_given_keys(settings, given), name="store given keys")


def _put_given_keys(settings: Settings, given: dict[str, tuple[str, Access]]) -> None:
    with open_keys(settings) as table:
        for name, (key, scope) in given.items():
            if put_given_key(table, name, key, scope):
                _record(settings, checked_key_id(key))


async def acheck_addresses(settings: Settings, *hosts: str) -> None:
    """Raise an error if the process would listen beyond loopback without authenticating callers.

    Args:
        settings: they say whether and how callers are authenticated.
        hosts: the addresses to listen on.

    Raises:
        ConfigurationError: the address is not loopback, and authentication is off, or there is neither a valid API key
            nor an issuer of tokens.
    """
    open_host = next((host for host in hosts if not is_loopback(host)), None)
    if open_host is None:
        return
    if not settings.auth:
        raise ConfigurationError(
            f"without authentication the server will not listen on {open_host!r}: others could reach it",
            hint="leave --no-auth out, or use --host 127.0.0.1",
        )
    if settings.jwt_jwks_url is None and not await in_thread(lambda: has_keys(settings), name="look for keys"):
        raise ConfigurationError(
            f"the server will not listen on {open_host!r} before there is a key: anybody could reach it",
            hint="make one with `saa keys create --scope admin`, or give SAA_ADMIN_KEY",
        )


async def aensure_admin_key(settings: Settings, authenticator: Authenticator) -> str | None:
    """Create an admin API key at the first start of a server that listens on loopback.

    A new user then needs no `saa keys create`.

    Returns:
        The key, to be shown once; it is valid at once. None if there is or was a key, if authentication is off or uses
        an issuer's tokens, and if the address is not loopback.

    Raises:
        StoreError: the key was not stored.
    """
    if authenticator.keys is None or settings.jwt_jwks_url is not None or not is_loopback(settings.host):
        return None
    new_key = await authenticator.keys.acreate_first(
        tenant=DEFAULT_TENANT, scopes=[Access.ADMIN.value], label="made at the first start"
    )
    if new_key is None:
        return None
    await in_thread(lambda: _record(settings, new_key.id), name="record the first key")
    return new_key.key


def _record(settings: Settings, key_id: str) -> None:
    # Who starts the server makes the key. A log that cannot be written stops the requests that need it, not the start.
    try:
        record_entry(settings, "createKey", key_id=f"user:{os.getuid()}", protocol="command", target=key_id)
    except (OSError, SuperAdvancedAgentsError) as exc:
        _log.error("audit.entries_dropped", extra={"reason": str(exc)})
