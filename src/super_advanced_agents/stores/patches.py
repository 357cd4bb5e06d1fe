"""Changes of a JSON object: merge patches (RFC 7396)."""

from __future__ import annotations

from super_advanced_agents.types import JSONValue, Metadata


def merged(target: JSONValue, patch: JSONValue) -> JSONValue:
    """`target` with `patch` applied: objects are merged, None removes a key, anything else takes the old one's place.

    Source: RFC 7396, section 2.
    """
    if not isinstance(patch, dict):
        return patch
    made: Metadata = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), value)
    return made
