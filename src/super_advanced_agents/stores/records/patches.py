"""JSON merge patches (RFC 7396)."""

from __future__ import annotations

from super_advanced_agents.types import JSONValue, Metadata


def merge_patch(target: JSONValue, patch: JSONValue) -> JSONValue:
    """Return the result of applying a merge patch (RFC 7396) to `target`, which is not changed.

    Objects are merged, None removes a key, and any other value replaces the old one. Source: RFC 7396, section 2.
    """
    if not isinstance(patch, dict):
        return patch
    result: Metadata = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result
