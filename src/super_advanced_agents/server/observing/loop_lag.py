"""A task that measures how late the event loop runs what is due."""

from __future__ import annotations

import asyncio

from super_advanced_agents.telemetry import histogram

_INTERVAL_S = 0.25


async def measure_loop_lag() -> None:
    """Count, four times a second, by how many seconds the event loop is late, until cancelled."""
    lags = histogram("event_loop_lag_seconds")
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _INTERVAL_S
        await asyncio.sleep(_INTERVAL_S)
        lags.observe(max(0.0, loop.time() - due))
