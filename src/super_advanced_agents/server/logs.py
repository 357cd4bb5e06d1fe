"""Logging of a server process: one line per record, to standard error, written by a thread."""

from __future__ import annotations

import asyncio
import atexit
import logging
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Literal, TextIO

import orjson

from super_advanced_agents.telemetry import counter, current_request_id, get_logger

LogFormat = Literal["console", "json"]

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_ROOT = "super_advanced_agents"
_LEVELS = ("ERROR", "WARNING", "INFO", "DEBUG")
_LEVEL_SIGNALS = {signal.SIGUSR1: True, signal.SIGUSR2: False}
_MAX_WAITING = 10_000
_PAUSE_S = 0.1
"""The longest time for which a line of a request waits; others are written at once."""
_CLOSE_S = 2.0
_DROPPED = counter("log_lines_dropped")

_log = get_logger("server")


def configure_logging(level: str, log_format: LogFormat = "console", *, stream: TextIO | None = None) -> LogWriter:
    """Send the log records of the library and of uvicorn to standard error.

    Only a server process calls this; the library itself never configures logging.

    Args:
        level: the lowest level of the library's records that is written; uvicorn's are written from WARNING on.
        log_format: lines to read, or JSON.
        stream: takes the lines; standard error when None.
    """
    writer = LogWriter(stream or sys.stderr)
    writer.setFormatter(
        _JSONFormatter()
        if log_format == "json"
        else _LineFormatter("{asctime} {levelname:<7} {name} {message}", style="{")
    )
    for name, lowest in ((_ROOT, level), ("uvicorn", "WARNING")):
        logger = logging.getLogger(name)
        logger.setLevel(lowest)
        logger.addHandler(writer)
        logger.propagate = False
    atexit.register(writer.close)
    return writer


def change_level(*, more: bool) -> str:
    """Log one level more, or one less, from now on, and return the new level.

    Args:
        more: True for the next level with more records, such as DEBUG after INFO.
    """
    logger = logging.getLogger(_ROOT)
    position = _LEVELS.index(logging.getLevelName(logger.level)) + (1 if more else -1)
    level = _LEVELS[max(0, min(len(_LEVELS) - 1, position))]
    logger.setLevel(level)
    _log.log(logger.level, "server.log_level", extra={"level": level})
    return level


@contextmanager
def level_signals() -> Iterator[None]:
    """Enter a context in which SIGUSR1 makes the log one level longer, and SIGUSR2 shorter."""
    loop = asyncio.get_running_loop()
    for number, more in _LEVEL_SIGNALS.items():
        loop.add_signal_handler(number, partial(change_level, more=more))
    try:
        yield
    finally:
        for number in _LEVEL_SIGNALS:
            loop.remove_signal_handler(number)


class LogWriter(logging.Handler):
    """Write log records in a thread, so that a slow reader of the log blocks no request.

    What waits is bounded: further records are dropped, and the metrics count them.

    Args:
        stream: takes the lines.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._records: deque[logging.LogRecord] = deque()
        self._wake = threading.Event()
        self._closed = False
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="write log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record for the thread, with the id of the request that it belongs to."""
        if len(self._records) >= _MAX_WAITING:
            _DROPPED.add()
            return
        if not hasattr(record, "request_id") and (request := current_request_id()):
            record.request_id = request
        self._records.append(record)
        if record.name != "super_advanced_agents.access":
            self._wake.set()

    def flush(self) -> None:
        """Write what waits now."""
        with self._writing:
            lines = []
            while self._records:
                lines.append(self._line(self._records.popleft()))
            if lines:
                try:
                    self._stream.write("".join(lines))
                    self._stream.flush()
                except (OSError, ValueError):  # nobody reads standard error any more, or it is closed
                    _DROPPED.add(len(lines))

    def close(self) -> None:
        """Write what waits, for two seconds at most, and stop the thread."""
        self._closed = True
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_S)
        super().close()

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(_PAUSE_S)
            self._wake.clear()
            self.flush()
        self.flush()

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record) + "\n"
        except Exception:  # a value that cannot be shown must not end the thread
            return f"{record.levelname} {record.name} a log record could not be written\n"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES}


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return line + "".join(f" {name}={value!r}" for name, value in _fields(record).items())


class _JSONFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        members: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(members, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
