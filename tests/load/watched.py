"""A server that reports what it holds: `python -m tests.load.watched CORE`, with settings from the environment.

It prints one line of JSON when it listens, and one for each SIGUSR1: tasks, threads, sockets, permits taken, and how
late the event loop was since the last line, in milliseconds. SIGABRT ends it with the stacks of all threads on stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import uvloop

from super_advanced_agents.server.limits.fair_pool import FairPool
from super_advanced_agents.server.main import ServerAddresses, aserve
from super_advanced_agents.tenancy.settings import Settings

PAUSE_S = 0.005


class Watch:
    """Measures how late the event loop is, and counts what the process holds."""

    def __init__(self) -> None:
        self._late_ms: list[float] = []

    async def run(self) -> None:
        """Measure until it is cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(PAUSE_S)
            self._late_ms.append((time.perf_counter() - began - PAUSE_S) * 1e3)

    def report(self) -> None:
        """Print what the process holds."""
        late, self._late_ms = sorted(self._late_ms), []
        gc.collect()
        # Proxies may raise when they are asked for their class, as isinstance does.
        pools = [each for each in gc.get_objects() if issubclass(type(each), FairPool)]
        held = {
            "tasks": sorted(str(getattr(task.get_coro(), "__qualname__", "")) for task in asyncio.all_tasks()),
            "threads": sorted(thread.name for thread in threading.enumerate()),
            "sockets": sum(each.startswith("socket:") for each in _open_descriptors()),
            "permits": sum(pool.in_flight + pool.waiting for pool in pools),
            "lag_p99_ms": round(late[int(0.99 * len(late))], 2) if late else None,
            "lag_max_ms": round(late[-1], 2) if late else None,
        }
        print(json.dumps(held), flush=True)


def _open_descriptors():
    """Yield the targets of open descriptors."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            yield str(descriptor.readlink())


async def _serve() -> None:
    watch = Watch()
    watching = asyncio.create_task(watch.run())

    def on_listening(at: ServerAddresses) -> None:
        # Not before: the server takes this signal for the level of its log when it starts.
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, watch.report)
        print(json.dumps({"rest": at.rest, "grpc": at.grpc, "key": at.admin_key}), flush=True)

    try:
        await aserve(Settings.load(), on_listening=on_listening)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def main() -> None:
    """Serve on the core that the command line names."""
    if len(sys.argv) > 1:
        os.sched_setaffinity(0, {int(sys.argv[1])})
    faulthandler.enable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())


if __name__ == "__main__":
    main()
