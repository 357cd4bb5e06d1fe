"""Run the server until it is told to stop, then stop in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.server.app import create_app
from super_advanced_agents.server.settings import Settings, checked_loopback

_KEEP_ALIVE_S = 30
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class _Server(uvicorn.Server):
    """uvicorn's server; signals are ours, since its own handling ends the process by the signal it has caught."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the handlers alone."""
        yield

    def stop(self) -> None:
        """Stop taking requests and finish those under way; told twice, do not wait for them."""
        self.force_exit = self.should_exit
        self.should_exit = True


async def aserve(settings: Settings, *, on_listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way finish, and close the store.

    Args:
        settings: where to listen, and everything else.
        on_listening: called with the server's URL once it takes connections.

    Raises:
        ConfigurationError: the address is not of loopback, or in use.
        StoreLockedError: another process owns the store's folder.
        SuperAdvancedAgentsError: the store cannot be opened.
    """
    listener = _bound(checked_loopback(settings.host), settings.port)
    with contextlib.closing(listener):
        app = create_app(settings)
        server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",  # entered here, so that what it raises reaches the caller as it is
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(settings.drain_s)),
            )
        )
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, server.stop)
        try:
            async with app.router.lifespan_context(app):
                if not server.should_exit:
                    host, port = listener.getsockname()[:2]
                    on_listening(f"http://{f'[{host}]' if ':' in host else host}:{port}")
                    await server.serve(sockets=[listener])
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


def _bound(host: str, port: int) -> socket.socket:
    """Take the address before anything slow happens, so that one in use is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)  # early callers wait in line; another server on this port would fail only here
    except OSError as exc:
        listener.close()
        if exc.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"another program listens on {host}:{port}", hint="stop it, or choose another port with --port"
            ) from exc
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {exc.strerror}", hint="choose another --port"
        ) from exc
    return listener


class _Lines(logging.Formatter):
    """One line a record: time, level, area, event, then the fields it was logged with."""

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        line = super().format(record)
        fields = {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}
        fields.pop("color_message", None)
        return line + "".join(f" {name}={value!r}" for name, value in fields.items())


def configure_logging(level: str) -> None:
    """Send the library's and uvicorn's records to standard error. Only a server's process calls this."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines("{asctime} {levelname:<7} {name} {message}", style="{"))
    for name, least in (("super_advanced_agents", level), ("uvicorn", "WARNING")):
        logger = logging.getLogger(name)
        logger.setLevel(least)
        logger.addHandler(handler)
        logger.propagate = False


def serve(settings: Settings, *, on_listening: Callable[[str], None]) -> None:
    """`aserve` for a process that does nothing else."""
    asyncio.run(aserve(settings, on_listening=on_listening))
