"""Test `saa keys`."""

from __future__ import annotations

import pytest


def test_keys_commands_create_list_and_revoke_an_api_key(saa):
    """`create --json` prints the key and its id; no other command prints the key."""
    created = saa.json("keys", "create", "--tenant", "acme", "--scope", "memories:read", "--scope", "generate")
    assert set(created) == {"key", "id"}
    assert created["key"].startswith(f"saa_{created['id']}_")
    printed = saa("keys", "list", "--json").stdout
    assert created["key"] not in printed
    [key] = saa.json("keys", "list")["keys"]
    assert (key["id"], key["tenant"], key["state"]) == (created["id"], "acme", "valid")
    assert key["scopes"] == ["generate", "memories:read"]
    assert saa.json("keys", "revoke", created["id"]) == {"id": created["id"], "revoked": True}
    [key] = saa.json("keys", "list")["keys"]
    assert key["state"] == "revoked"


def test_keys_create_prints_only_the_key_on_standard_output(saa):
    """The key can be piped; the explanation is on standard error."""
    result = saa("keys", "create", "--scope", "admin", "--label", "for me", "--expires-in-s", "60")
    assert result.stdout.startswith("saa_")
    assert len(result.stdout.splitlines()) == 1
    assert "once" in result.stderr
    line = saa("keys", "list").stdout
    assert "default" in line
    assert "for me" in line
    assert "Revoked" in saa("keys", "revoke", result.stdout.strip()).stdout


def test_keys_list_does_not_create_the_data_folder(saa):
    """It prints an empty list and a hint."""
    assert saa.json("keys", "list") == {"keys": []}
    assert "saa keys create" in saa("keys", "list").stderr
    assert not saa.data_dir.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "--scope", "everything"], "'everything' is not a scope"),
        (["create", "--scope", "admin", "--tenant", "no name"], "not a name"),
        (["create", "--scope", "admin", "--expires-in-s", "-1"], "expire later"),
        (["revoke", "aaaaaaaaaaaa"], "no key 'aaaaaaaaaaaa'"),
        (["revoke", "saa_nonsense"], "not the id of a key"),
    ],
)
def test_keys_command_with_an_invalid_argument_prints_the_reason(saa, arguments, message):
    """Its exit code is 2."""
    assert message in saa("keys", *arguments, code=2).stderr


def test_keys_create_without_a_scope_is_a_usage_error(saa):
    """There is no default scope, so that each key gets only the rights it needs."""
    saa("keys", "create", code=2)


def test_keys_rotate_replaces_a_key_and_tells_how_long_the_old_one_lasts(saa):
    """Scripts read the new key from standard output."""
    old = saa.json("keys", "create", "--tenant", "acme", "--scope", "memories:read")
    rotated = saa.json("keys", "rotate", old["id"], "--overlap-s", "60")
    assert rotated["replaced"] == old["id"]
    before, after = saa.json("keys", "list")["keys"]
    assert (before["expires_at"], after["id"]) == (rotated["replaced_expires_at"], rotated["id"])
    assert saa("keys", "rotate", rotated["key"]).stdout.startswith("saa_")


def test_keys_generate_prints_a_key_and_stores_nothing(saa):
    """It is for the setting `admin_key`."""
    assert saa("keys", "generate").stdout.startswith("saa_")
    assert not saa.data_dir.exists()
