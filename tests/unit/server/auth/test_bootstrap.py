"""What happens before anybody can reach a server."""

from __future__ import annotations

import asyncio

import pytest

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.server.auth.authenticator import Authenticator
from super_advanced_agents.server.auth.bootstrap import acheck_bind_address, aensure_admin_key
from super_advanced_agents.server.auth.key_store import KeyTable
from super_advanced_agents.tenancy.context import Access
from super_advanced_agents.tenancy.settings import Settings

ISSUER = {"jwt_jwks_url": "https://issuer.example/keys", "jwt_issuer": "i", "jwt_audience": "a"}


def settings(tmp_path, **given):
    return Settings.load(data_dir=tmp_path / "data", **given)


async def with_keys(settings, *expiries):
    """Keys in the folder, each with its expiry; returns their ids."""

    def make():
        table = KeyTable(settings.server_dir)
        ids = [table.create(tenant="acme", scopes=["admin"], expires_in_s=each).id for each in expiries]
        table.close()
        return ids

    return await asyncio.to_thread(make)


async def revoke(settings, key_id):
    def change():
        table = KeyTable(settings.server_dir)
        table.revoke(key_id)
        table.close()

    await asyncio.to_thread(change)


async def first_key(settings):
    async with Authenticator(settings) as authenticator:
        await authenticator.aopen()
        key = await aensure_admin_key(settings, authenticator)
        return key and authenticator.keys.principal_of(key)


async def test_beyond_loopback_there_must_be_a_key_that_counts(tmp_path):
    """Looking for one makes nothing."""
    given = settings(tmp_path, host="0.0.0.0")
    with pytest.raises(ConfigurationError, match="before there is a key") as caught:
        await acheck_bind_address(given)
    assert "saa keys create" in caught.value.hint
    assert not given.data_dir.exists()
    [revoked, _] = await with_keys(given, None, 0.0001)
    await revoke(given, revoked)
    with pytest.raises(ConfigurationError, match="before there is a key"):
        await acheck_bind_address(given)
    await with_keys(given, 3600)
    await acheck_bind_address(given)


async def test_beyond_loopback_an_issuer_is_as_good_as_a_key_and_no_authentication_is_never_good(tmp_path):
    """Whatever else is there."""
    await acheck_bind_address(settings(tmp_path, host="0.0.0.0", **ISSUER))
    open_to_all = settings(tmp_path, host="192.168.1.5", auth=False)
    await with_keys(open_to_all, None)
    with pytest.raises(ConfigurationError, match="without authentication"):
        await acheck_bind_address(open_to_all)
    await acheck_bind_address(settings(tmp_path, auth=False))
    await acheck_bind_address(settings(tmp_path))


async def test_the_first_start_on_loopback_makes_an_admin_of_the_default_tenant(tmp_path):
    """Once, and not again when that key was revoked: `saa keys create` is there for those."""
    given = settings(tmp_path)
    made = await first_key(given)
    assert (made.tenant, made.scopes) == ("default", {Access.ADMIN})
    assert await first_key(given) is None
    await revoke(given, made.key_id)
    assert await first_key(given) is None


@pytest.mark.parametrize("given", [{"auth": False}, {"host": "0.0.0.0"}, ISSUER])
async def test_no_admin_key_is_made_where_nobody_needs_or_should_see_one(tmp_path, given):
    """Without authentication, beyond loopback, and where an issuer says who is who."""
    assert await first_key(settings(tmp_path, **given)) is None
