"""The cached process id, because `os.getpid` takes a microsecond or more in a sandbox."""

from __future__ import annotations

import os

_pid = os.getpid()


def process_id() -> int:
    """Return the id of this process from a cache that is renewed after a fork."""
    return _pid


def _renew_pid() -> None:
    global _pid
    _pid = os.getpid()


os.register_at_fork(after_in_child=_renew_pid)
