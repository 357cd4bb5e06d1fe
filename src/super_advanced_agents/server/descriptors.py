"""The limit on file descriptors, and the numbers of connections and collections that fit it."""

from __future__ import annotations

import resource

from super_advanced_agents.telemetry import get_logger
from super_advanced_agents.tenancy.settings import Settings

_ENOUGH = 65_536
_RESERVED = 160
"""Descriptors of the process itself, about 50, and a reserve for files open briefly."""
_PER_COLLECTION = 10
"""Descriptors of an open collection: 6 measured, and its snapshots while they are written."""

_log = get_logger("server")


def raised_limit() -> int:
    """Raise the process's limit of open files to what is allowed, up to 65,536, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _ENOUGH if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS refuses more than a limit of the kernel's
        return soft
    return wanted


def fitted(settings: Settings, limit: int) -> Settings:
    """Return the settings with numbers of connections and collections that fit into a limit.

    REST and gRPC each have `max_connections`. Collections get half of the descriptors at most. A log line names each
    setting that is lowered.

    Args:
        settings: the settings of the server.
        limit: the number of descriptors that the process may have.
    """
    free = max(limit - _RESERVED, _PER_COLLECTION)
    listeners = 1 if settings.chosen_grpc_port is None else 2
    if listeners * settings.max_connections + _PER_COLLECTION * settings.max_open_collections <= free:
        return settings
    collections = min(settings.max_open_collections, max(1, free // 2 // _PER_COLLECTION))
    connections = min(settings.max_connections, max(1, (free - _PER_COLLECTION * collections) // listeners))
    _log.warning(
        "server.descriptors_are_few",
        extra={
            "limit": limit,
            "max_connections": connections,
            "max_open_collections": collections,
            "hint": "raise the limit of open files (ulimit -n), or lower these settings",
        },
    )
    return settings.model_copy(update={"max_connections": connections, "max_open_collections": collections})
