"""Times of schedules: cron expressions of five fields in a time zone.

A time of day that the clocks skip runs once, right after the gap; one that they repeat runs once, at its first
occurrence. Expressions whose minute or hour begins with `*` count real time instead, so that `*/10 * * * *` keeps its
interval. These are the rules of Debian's cron.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from super_advanced_agents.errors import InvalidInputError

_MAX_CHARS = 256
_FIRST_SPAN_S, _LONGER = 7_200.0, 8


def times_after(cron: str, zone: str, after: float) -> Iterator[float]:
    """Yield the times of a cron expression after a time, ascending, in seconds since 1970.

    Args:
        cron: five fields: minute, hour, day of the month, month, day of the week.
        zone: the IANA time zone of these fields.
        after: a time in seconds since 1970.

    Raises:
        InvalidInputError: the expression or the zone is not valid.
    """
    from cronsim import CronSim, CronSimError

    begin = datetime.fromtimestamp(after, UTC if zone == "UTC" else _zone(zone))
    if not isinstance(cron, str) or len(cron) > _MAX_CHARS or len(cron.split()) != 5:
        raise InvalidInputError(
            "cron needs five fields: minute, hour, day of the month, month, day of the week",
            field="cron",
            hint="'0 7 * * *' is every day at 7; the shortest interval is a minute",
        )
    try:
        times = CronSim(cron, begin)
    except (CronSimError, ValueError, AssertionError) as exc:
        raise InvalidInputError(
            f"cron {cron!r} is not valid: {str(exc) or 'unknown field'}",
            field="cron",
            hint="'0 7 * * *' is every day at 7",
        ) from exc
    # In an hour that the clocks repeat it also yields times of the first one, which are over in the second.
    return (time for moment in times if (time := moment.timestamp()) > after)


def latest_times(cron: str, zone: str, after: float, until: float, n: int) -> list[float]:
    """Return the last `n` times of a cron expression in a span of time.

    Args:
        cron: five fields: minute, hour, day of the month, month, day of the week.
        zone: the IANA time zone of these fields.
        after: the begin of the span, in seconds since 1970; it is not part of it.
        until: the end of the span, which is part of it.
        n: the number of times.

    Returns:
        The times, ascending, in seconds since 1970.

    Raises:
        InvalidInputError: the expression or the zone is not valid.
    """
    # From the end, by longer and longer spans: to go through the minutes of a month takes a second.
    span_s = _FIRST_SPAN_S
    while True:
        begin = max(after, until - span_s)
        found = list(takewhile(lambda time: time <= until, times_after(cron, zone, begin)))
        if len(found) >= n or begin == after:
            return found[-n:]
        span_s *= _LONGER


def next_times(cron: str, zone: str, after: float, n: int = 5) -> list[float]:
    """Return the next times of a cron expression after a time, in seconds since 1970.

    Raises:
        InvalidInputError: the expression or the zone is not valid, or there is no such time.
    """
    found = _times_after_minute(cron, zone, after // 60, n)
    if not found:
        raise InvalidInputError(
            f"cron {cron!r} never comes", field="cron", hint="no month has such a day; choose another day"
        )
    return list(found)


@lru_cache(maxsize=4_096, typed=True)
def _times_after_minute(cron: str, zone: str, minute: float, n: int) -> tuple[float, ...]:
    # Kept, since an expression that comes once in 28 years takes 7 ms, and a tenant may list 100 of them.
    return tuple(islice(times_after(cron, zone, minute * 60), n))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError) as exc:  # ZoneInfoNotFoundError is a KeyError
        raise InvalidInputError(
            f"there is no time zone {str(name)[:64]!r}", field="zone", hint="use an IANA name, such as 'Europe/Berlin'"
        ) from exc
