"""Replacement of API keys: the old one stays valid for a while beside the new one."""

from __future__ import annotations

import hmac

from super_advanced_agents.config import DEFAULT_TENANT
from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.server.auth.key_source import Keys
from super_advanced_agents.server.auth.key_store import KEY_PATTERN, NewKey, digest_of, new_key
from super_advanced_agents.tenancy.context import Access

OVERLAP_S = 86_400.0
"""Seconds for which a replaced key stays valid: a day, in which callers get the new one."""

_INSERT = (
    "INSERT INTO {keys} (id, digest, tenant, scopes, label, created_at, expires_at) VALUES (?,?,?,?,?,?,?)"
    " ON CONFLICT (id) DO NOTHING"
)


def rotate_key(table: Keys, key_id: str, *, overlap_s: float = OVERLAP_S) -> tuple[NewKey, float]:
    """Replace a valid API key by a new one with its tenant, scopes and label.

    The new key does not expire, except where the old one did: then it lasts as long from now on as the old one was made
    for.

    Args:
        table: the keys.
        key_id: the public id of the key to replace.
        overlap_s: seconds for which the old one stays valid; 0 ends it at once.

    Returns:
        The new key, and when the old one expires, in seconds since 1970.

    Raises:
        InvalidInputError: there is no valid key with this id, or `overlap_s` is negative.
        StoreError: nothing was changed.
    """
    if not 0 <= overlap_s < 1e10:
        raise InvalidInputError("the overlap must be 0 seconds or more", field="overlap_s")
    old = next((record for record in table.records() if record.id == key_id), None)
    if old is None or old.state != "valid":
        raise InvalidInputError(
            f"there is no valid key {key_id!r}", field="id", hint="`saa keys list` shows the ids and their states"
        )
    made, now = new_key(), table.clock.now()
    lifetime_s = None if old.expires_at is None else old.expires_at - old.created_at
    ends_at = min(now + overlap_s, old.expires_at if old.expires_at is not None else float("inf"))
    row = made.id, digest_of(made.key, table.secret), old.tenant, " ".join(sorted(old.scopes)), old.label, now
    expires_at = None if lifetime_s is None else now + lifetime_s
    table.change([(_INSERT, (*row, expires_at)), ("UPDATE {keys} SET expires_at = ? WHERE id = ?", (ends_at, key_id))])
    return made, ends_at


def put_given_key(table: Keys, setting: str, key: str, scope: Access, *, overlap_s: float = OVERLAP_S) -> bool:
    """Store a key that the operator made, if it is new, and let its predecessors expire.

    Several servers may be given the same key, each at every start.

    Args:
        table: the keys.
        setting: the name of the setting that gives the key; its keys have a label with this name.
        key: the key, of the tenant `default`.
        scope: what it permits.
        overlap_s: seconds for which earlier keys of the setting stay valid.

    Returns:
        True if it was new.

    Raises:
        ConfigurationError: it has not the form of a key, was revoked or has expired, or its id is another key's.
        StoreError: it was not stored.
    """
    parsed = KEY_PATTERN.fullmatch(key)
    if parsed is None:
        raise ConfigurationError(
            f"the setting {setting} has not the form of a key", hint="`saa keys generate` makes one without storing it"
        )
    digest = digest_of(key, table.secret)
    for record in table.records():
        if record.id == parsed[1]:
            if record.state != "valid" or not hmac.compare_digest(record.digest, digest):
                raise ConfigurationError(
                    f"the setting {setting} is a key that is {record.state}, or its id {record.id!r} is another key's",
                    hint="give a new one, made with `saa keys generate`",
                )
            return False
    now, label = table.clock.now(), f"the setting {setting}"
    ends_at = now + overlap_s
    table.change(
        [
            (
                "UPDATE {keys} SET expires_at = ? WHERE label = ? AND (expires_at IS NULL OR expires_at >= ?)",
                (ends_at, label, ends_at),
            ),
            (_INSERT, (parsed[1], digest, DEFAULT_TENANT, scope.value, label, now, None)),
        ]
    )
    return True
