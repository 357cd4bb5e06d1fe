"""Paths of requests, in which a name may hold an encoded slash (`%2F`)."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.types import Scope

_SLASH = re.compile(rb"%2F", re.IGNORECASE)
_ENCODED_SLASH = "\udc2f"
"""The stand-in for an encoded slash while a request is routed.

No decoded path holds a lone surrogate.
"""


def keep_encoded_slashes(scope: Scope) -> None:
    """Make `%2F` in a request's path part of a name, such as `a/b`, instead of a separator.

    ASGI servers decode the path before it is routed (RFC 3986, section 2.2, wants it split first).
    """
    raw_path: bytes = scope.get("raw_path") or b""
    if _SLASH.search(raw_path):
        parts = _SLASH.split(raw_path.partition(b"?")[0])
        scope["path"] = _ENCODED_SLASH.join(unquote(part.decode("latin-1")) for part in parts)


def named(parameter: str) -> str:
    """Return the name, or the uid, that a parameter of a routed path stands for."""
    return parameter.replace(_ENCODED_SLASH, "/")
