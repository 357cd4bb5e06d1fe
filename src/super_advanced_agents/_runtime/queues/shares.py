"""The current share: the tenant for which the current code works, or `NO_SHARE`.

Queues and caches that several tenants use divide themselves by it. It is read where work is submitted, in the caller's
context, since worker threads serve everybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

NO_SHARE = ""
"""The share of an embedded library and of a server's own maintenance."""

_current: ContextVar[str] = ContextVar("share", default=NO_SHARE)

current_share = _current.get
"""Return the share of the current context; `NO_SHARE` outside of a tenant's request."""


@contextmanager
def active_share(share: str) -> Iterator[None]:
    """Enter a context in which `current_share()` returns `share`."""
    token = _current.set(share)
    try:
        yield
    finally:
        _current.reset(token)
