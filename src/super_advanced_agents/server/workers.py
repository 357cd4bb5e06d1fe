"""Several server processes on the same ports of one machine, over a store in an engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import FrameType

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.server.sockets import bind_listener
from super_advanced_agents.stores.opening import folder_of
from super_advanced_agents.tenancy.settings import PREFIX, Settings
from super_advanced_agents.tenancy.shared_state import state_url

WORKER = f"{PREFIX}REUSE_PORT"
"""The variable of the setting `reuse_port`, by which a process knows that it is a worker."""

_COMMAND = (sys.executable, "-m", "super_advanced_agents")
_POLL_S = 0.1
_STARTED_S = 10.0
"""A worker that fails earlier than this will fail again, so that all are ended."""


def check_workers(settings: Settings, workers: int) -> None:
    """Raise an error unless several processes can serve with these settings.

    Raises:
        ConfigurationError: the store or its catalog is in a folder, or a port is left to the system.
    """
    if folder_of(settings.store_url) is not None:
        raise ConfigurationError(
            f"{workers} workers cannot share one embedded store: a data folder has one owner",
            hint="use one worker, or a store in an engine: SAA_STORE=postgresql://...",
        )
    if state_url(settings) is None:
        raise ConfigurationError(
            f"{workers} workers share no catalog: that of a store in Milvus is in the data folder, which has one owner",
            hint="name a PostgreSQL database for it in SAA_STATE",
        )
    if 0 in (settings.port, settings.chosen_grpc_port):
        raise ConfigurationError(
            f"{workers} workers need ports of their own choice: with 0 each would get another one",
            hint="give --port, and --grpc-port or --no-grpc",
        )
    if settings.metrics_port is not None:
        raise ConfigurationError(
            f"{workers} workers cannot share one port for metrics: a scrape would reach one of them",
            hint="run servers of one worker each where metrics are scraped, or unset metrics_port",
        )


def run_workers(settings: Settings, workers: int, arguments: Sequence[str]) -> int:
    """Run worker processes until a signal stops them, and return the status to exit with.

    Each is a server of its own; the system spreads connections over them (`SO_REUSEPORT`). One that dies is started
    again. SIGTERM and SIGINT are passed on.

    Args:
        settings: the settings of each.
        workers: the number of processes.
        arguments: the command-line arguments of each.

    Raises:
        ConfigurationError: a port is used by another program.
    """
    with ExitStack() as stack:
        for port, option in ((settings.port, "--port"), (settings.chosen_grpc_port, "--grpc-port")):
            if port is not None:  # held, so that no other program takes it
                stack.enter_context(bind_listener(settings.host, port, option, shared=True, listens=False))
        running = _Workers(workers, arguments)
        for number in (signal.SIGTERM, signal.SIGINT):
            stack.callback(signal.signal, number, signal.signal(number, running.stop))
        return running.run()


class _Workers:
    def __init__(self, count: int, arguments: Sequence[str]) -> None:
        self._count = count
        self._arguments = arguments
        self._children: dict[subprocess.Popen[bytes], float] = {}  # with the times of their starts
        self._stopping = False
        self._status = 0

    def run(self) -> int:
        while not self._stopping or self._children:
            while len(self._children) < self._count and not self._stopping:
                child = subprocess.Popen(  # noqa: S603  # this program with its own arguments
                    [*_COMMAND, *self._arguments], env={**os.environ, WORKER: "1"}
                )
                self._children[child] = time.monotonic()
            for child in [child for child in self._children if child.poll() is not None]:
                self._end(child)
            time.sleep(_POLL_S)
        return self._status

    def stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._stopping = True
        for child in self._children:
            child.send_signal(number)

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        started_at = self._children.pop(child)
        if not self._stopping and child.returncode > 0 and time.monotonic() - started_at < _STARTED_S:
            self._status = child.returncode
            self.stop(signal.SIGTERM, None)
