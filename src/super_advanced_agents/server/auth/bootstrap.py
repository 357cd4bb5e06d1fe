"""What a server checks and makes before anybody can reach it."""

from __future__ import annotations

from super_advanced_agents._runtime.futures import in_thread
from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.auth.key_store import KEYS_FILE, KeyTable
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.settings import Settings, is_loopback


async def acheck_exposure(settings: Settings) -> None:
    """Refuse to listen beyond loopback when nothing keeps strangers out.

    Raises:
        ConfigurationError: the address is of a network, and there is no key that counts and no issuer of tokens, or
            authentication is off.
    """
    if is_loopback(settings.host):
        return
    if not settings.auth:
        raise ConfigurationError(
            f"without authentication the server will not listen on {settings.host!r}: others could reach it",
            hint="leave --no-auth out, or use --host 127.0.0.1",
        )
    if settings.jwt_jwks_url is None and not await in_thread(lambda: _has_keys(settings), name="look for keys"):
        raise ConfigurationError(
            f"the server will not listen on {settings.host!r} before there is a key: anybody could reach it",
            hint="make one with `saa keys create --scope admin`",
        )


async def aensure_admin_key(settings: Settings, authenticator: Authenticator) -> str | None:
    """Make the first key of a server on loopback, so that a newcomer needs no other command; honoured at once.

    Returns:
        The key, to be shown once; None when there was ever one, when nobody needs one, and beyond loopback.

    Raises:
        StoreError: it was not stored.
    """
    if authenticator.keys is None or settings.jwt_jwks_url is not None or not is_loopback(settings.host):
        return None
    made = await authenticator.keys.acreate_first(
        tenant=DEFAULT_TENANT, scopes=[Access.ADMIN.value], label="made at the first start"
    )
    return None if made is None else made.key


def _has_keys(settings: Settings) -> bool:
    if not (settings.server_dir / KEYS_FILE).exists():
        return False
    table = KeyTable(settings.server_dir)
    try:
        return any(record.state == "valid" for record in table.records())
    finally:
        table.close()
