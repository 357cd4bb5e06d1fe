"""Test the checks and the first admin key before a server accepts connections."""

from __future__ import annotations

import asyncio

import pytest

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.auth.bootstrap import acheck_addresses, aensure_admin_key
from super_advanced_agents.server.auth.key_store import KeyTable
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.settings import Settings

ISSUER = {"jwt_jwks_url": "https://issuer.example/keys", "jwt_issuer": "i", "jwt_audience": "a"}


def make_settings(tmp_path, **options):
    """Return settings with a data folder of the test."""
    return Settings.load(data_dir=tmp_path / "data", **options)


async def create_keys(settings, *expiries):
    """Create one key for each expiry, and return their ids."""

    def create():
        table = KeyTable(settings.server_dir)
        ids = [table.create(tenant="acme", scopes=["admin"], expires_in_s=each).id for each in expiries]
        table.close()
        return ids

    return await asyncio.to_thread(create)


async def revoke_key(settings, key_id):
    """Revoke a key through a table of its own."""

    def revoke_now():
        table = KeyTable(settings.server_dir)
        table.revoke(key_id)
        table.close()

    await asyncio.to_thread(revoke_now)


async def _check_host(settings):
    await acheck_addresses(settings, settings.host)


async def first_admin(settings):
    """Return the principal of the admin key that a start creates; None if it creates none."""
    async with Authenticator(settings) as authenticator:
        await authenticator.aopen()
        key = await aensure_admin_key(settings, authenticator)
        return key and authenticator.keys.principal_of(key)


async def test_bind_address_beyond_loopback_requires_a_valid_key(tmp_path):
    """Revoked and expired keys do not count, and the check creates no files."""
    settings = make_settings(tmp_path, host="0.0.0.0")
    with pytest.raises(ConfigurationError, match="before there is a key") as caught:
        await _check_host(settings)
    assert "saa keys create" in caught.value.hint
    assert not settings.data_dir.exists()
    [revoked, _] = await create_keys(settings, None, 0.0001)
    await revoke_key(settings, revoked)
    with pytest.raises(ConfigurationError, match="before there is a key"):
        await _check_host(settings)
    await create_keys(settings, 3600)
    await _check_host(settings)


async def test_bind_address_beyond_loopback_accepts_an_issuer_and_refuses_no_auth(tmp_path):
    """Without authentication only loopback is allowed, even if there are keys."""
    await _check_host(make_settings(tmp_path, host="0.0.0.0", **ISSUER))
    open_to_all = make_settings(tmp_path, host="192.168.1.5", auth=False)
    await create_keys(open_to_all, None)
    with pytest.raises(ConfigurationError, match="without authentication"):
        await _check_host(open_to_all)
    await _check_host(make_settings(tmp_path, auth=False))
    await _check_host(make_settings(tmp_path))


async def test_first_start_on_loopback_creates_one_admin_key_of_the_default_tenant(tmp_path):
    """Later starts create none, even after that key was revoked; `saa keys create` is for that."""
    settings = make_settings(tmp_path)
    admin = await first_admin(settings)
    assert (admin.tenant, admin.scopes) == ("default", {Access.ADMIN})
    assert await first_admin(settings) is None
    await revoke_key(settings, admin.key_id)
    assert await first_admin(settings) is None


@pytest.mark.parametrize("options", [{"auth": False}, {"host": "0.0.0.0"}, ISSUER])
async def test_no_admin_key_is_created_without_auth_beyond_loopback_or_with_an_issuer(tmp_path, options):
    """There a key is not needed, or should not be shown."""
    assert await first_admin(make_settings(tmp_path, **options)) is None
