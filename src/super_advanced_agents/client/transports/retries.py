"""The pauses between the attempts of a remote call, which go on until its time is up."""

from __future__ import annotations

import random
import time

from super_advanced_agents.client.transports.error_mapping import ForeignAnswerError
from super_advanced_agents.errors import (
    EngineUnavailableError,
    OverloadedError,
    RateLimitedError,
    SuperAdvancedAgentsError,
)

RETRYABLE = (EngineUnavailableError, OverloadedError, RateLimitedError)
"""The errors after which another attempt may succeed."""

_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.05, 2.0


class Retries:
    """Count the failed attempts of a call, and say how long to wait before the next one.

    The pauses double from 50 ms to 2 s, with jitter; a server that says when to come back is asked no sooner.

    Args:
        timeout_s: the seconds for all attempts together.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.restart()

    def restart(self) -> None:
        """Begin anew, since an attempt has succeeded: the whole timeout lies ahead again."""
        self._deadline = time.monotonic() + self._timeout_s
        self._failures = 0

    @property
    def left_s(self) -> float:
        """The seconds left for the next attempt, at least one millisecond."""
        return max(0.001, self._deadline - time.monotonic())

    def pause_s(self, error: SuperAdvancedAgentsError) -> float:
        """Return the seconds to wait after a failed attempt.

        Raises:
            SuperAdvancedAgentsError: `error` itself, when no attempt would help, or no time is left for one.
        """
        self._failures += 1
        left_s = self.left_s
        if isinstance(error, ForeignAnswerError) or not error.retryable or left_s <= _FIRST_PAUSE_S:
            raise error
        jitter = 1 + random.random() / 4  # noqa: S311  # clients that failed together must not come back together
        if isinstance(error, OverloadedError | RateLimitedError):
            pause_s = error.retry_after_s * jitter
            if pause_s >= left_s:
                raise error
            return pause_s
        backoff_s: float = min(_LAST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._failures, 10)) * jitter
        return min(backoff_s, left_s / 2)  # the last attempts come closer together, so that none is after the deadline
