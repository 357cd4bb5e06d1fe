"""A replaced key stays valid for a while, and the operator's own admin key is known from the first start on."""

from __future__ import annotations

import pytest

from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.server.auth.key_store import KeyTable, new_key
from super_advanced_agents.server.auth.rotation import put_given_key, rotate_key
from super_advanced_agents.tenancy.context import Access


def put(table, key, setting="admin_key", scope=Access.ADMIN):
    """Store a key as the setting gives it."""
    return put_given_key(table, setting, key, scope)


@pytest.fixture
def table(tmp_path):
    """Yield an empty table of keys."""
    opened = KeyTable(tmp_path / "server")
    yield opened
    opened.close()


def test_new_key_has_the_rights_of_the_old_one_which_expires_after_the_overlap(table):
    """Callers have the overlap to change to the new one."""
    old = table.create(tenant="acme", scopes=["memories:read", "generate"], label="crawler")
    made, ends_at = rotate_key(table, old.id, overlap_s=3600)
    before, after = table.records()
    assert (after.tenant, after.scopes, after.label, after.expires_at) == ("acme", before.scopes, "crawler", None)
    assert (after.id, after.state, before.state) == (made.id, "valid", "valid")
    assert before.expires_at == ends_at == pytest.approx(table.clock.now() + 3600, abs=5)


def test_overlap_of_nothing_ends_the_old_key_at_once_and_a_new_one_lasts_as_long_as_the_old_was_made_for(table):
    """A key that leaked must not stay valid."""
    old = table.create(tenant="acme", scopes=["admin"], expires_in_s=1000)
    rotate_key(table, old.id, overlap_s=0)
    before, after = table.records()
    assert before.state == "expired"
    assert after.expires_at == pytest.approx(table.clock.now() + 1000, abs=5)


def test_overlap_never_prolongs_a_key(table):
    """It would have expired before."""
    old = table.create(tenant="acme", scopes=["admin"], expires_in_s=10)
    expires_at = table.records()[0].expires_at
    assert rotate_key(table, old.id, overlap_s=3600)[1] == expires_at


def test_only_valid_keys_are_replaced(table):
    """A revoked key has no successor."""
    old = table.create(tenant="acme", scopes=["admin"])
    table.revoke(old.id)
    for key_id in (old.id, "a" * 12):
        with pytest.raises(InvalidInputError, match="no valid key"):
            rotate_key(table, key_id)
    with pytest.raises(InvalidInputError, match="overlap"):
        rotate_key(table, old.id, overlap_s=-1)
    assert len(table.records()) == 1


def test_admin_key_of_the_operator_is_stored_once_and_its_predecessor_expires(table):
    """Each server is given it at each start."""
    first, second = new_key().key, new_key().key
    assert [put(table, key) for key in (first, first, second, second)] == [True, False, True, False]
    before, after = table.records()
    assert (before.label, after.label) == ("the setting admin_key",) * 2
    assert (before.expires_at is None, after.expires_at) == (False, None)


def test_key_of_one_setting_does_not_end_that_of_another(table):
    """Prometheus has a key of its own, which can do nothing else."""
    put(table, new_key().key)
    put(table, new_key().key, "metrics_key", Access.METRICS)
    before, after = table.records()
    assert (before.expires_at, after.expires_at, after.scopes) == (None, None, {Access.METRICS})


def test_admin_key_that_is_none_or_was_revoked_is_refused_without_being_told(table):
    """A server that starts all the same would accept it, or lock the operator out silently."""
    key = new_key().key
    put(table, key)
    table.revoke(key[4:16])
    for wrong in (key, "saa_short", key[:17] + "x" * 43, ""):
        with pytest.raises(ConfigurationError, match="admin_key") as caught:
            put(table, wrong)
        assert not wrong or wrong not in str(caught.value)
