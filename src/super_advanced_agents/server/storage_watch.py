"""A thread that checks a few times a second that no database has lost a file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.telemetry import get_logger

_log = get_logger("server")
_INTERVAL_S = 0.25


class StorageWatch(Resource):
    """Check whether databases lost a file, so that a server that writes nothing reports it too.

    Writes look for themselves before they are acknowledged.

    Args:
        checks: each raises an error of this package if a file was removed, replaced, emptied or cut by others.
    """

    def __init__(self, checks: Sequence[Callable[[], None]]) -> None:
        super().__init__()
        self._checks = checks
        self._failing = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch files", daemon=True)
        self._thread.start()

    @property
    def failing(self) -> bool:
        """True while a file is lost; the log says which."""
        return self._failing

    def _run(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            reasons = [reason for check in self._checks if (reason := _reason(check)) is not None]
            if reasons and not self._failing:
                _log.error("server.storage_lost", extra={"reason": reasons[0]})
            self._failing = bool(reasons)

    def _release(self) -> None:
        self._stop.set()
        self._thread.join()


def _reason(check: Callable[[], None]) -> str | None:
    try:
        check()
    except SuperAdvancedAgentsError as exc:
        return str(exc)
    return None
