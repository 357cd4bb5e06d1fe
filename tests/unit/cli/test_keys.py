"""`saa keys`."""

from __future__ import annotations

import pytest


def test_a_key_is_made_listed_and_revoked(saa):
    """As the contract has it: `create --json` prints the key and its id, and nothing shows the key again."""
    made = saa.json("keys", "create", "--tenant", "acme", "--scope", "memories:read", "--scope", "generate")
    assert set(made) == {"key", "id"}
    assert made["key"].startswith(f"saa_{made['id']}_")
    listed = saa("keys", "list", "--json").stdout
    assert made["key"] not in listed
    [key] = saa.json("keys", "list")["keys"]
    assert (key["id"], key["tenant"], key["state"]) == (made["id"], "acme", "valid")
    assert key["scopes"] == ["generate", "memories:read"]
    assert saa.json("keys", "revoke", made["id"]) == {"id": made["id"], "revoked": True}
    [key] = saa.json("keys", "list")["keys"]
    assert key["state"] == "revoked"


def test_people_get_the_key_alone_on_standard_output(saa):
    """So that it can be piped; the rest is beside it."""
    done = saa("keys", "create", "--scope", "admin", "--label", "for me", "--expires-in-s", "60")
    assert done.stdout.startswith("saa_")
    assert len(done.stdout.splitlines()) == 1
    assert "once" in done.stderr
    line = saa("keys", "list").stdout
    assert "default" in line
    assert "for me" in line
    assert "Revoked" in saa("keys", "revoke", done.stdout.strip()).stdout


def test_listing_makes_nothing(saa):
    """A folder that is not there stays so."""
    assert saa.json("keys", "list") == {"keys": []}
    assert "saa keys create" in saa("keys", "list").stderr
    assert not saa.data_dir.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["create", "--scope", "everything"], "'everything' is not a scope"),
        (["create", "--scope", "admin", "--tenant", "no name"], "not a name"),
        (["create", "--scope", "admin", "--expires-in-s", "-1"], "expire later"),
        (["revoke", "aaaaaaaaaaaa"], "no key 'aaaaaaaaaaaa'"),
        (["revoke", "saa_nonsense"], "not the id of a key"),
    ],
)
def test_what_is_wrong_is_told(saa, arguments, told):
    """In a sentence."""
    assert told in saa("keys", *arguments, code=2).stderr


def test_a_key_without_a_scope_is_wrong_usage(saa):
    """There is no default: whoever makes a key says what for."""
    saa("keys", "create", code=2)
