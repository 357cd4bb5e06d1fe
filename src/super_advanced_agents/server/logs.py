"""Logging of a server process: one line per record, to standard error."""

from __future__ import annotations

import logging
import sys

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def configure_logging(level: str) -> None:
    """Send the log records of the library and of uvicorn to standard error.

    Only a server process calls this; the library itself never configures logging.

    Args:
        level: the lowest level of the library's records that is written; uvicorn's are written from WARNING on.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LineFormatter("{asctime} {levelname:<7} {name} {message}", style="{"))
    for name, lowest in (("super_advanced_agents", level), ("uvicorn", "WARNING")):
        logger = logging.getLogger(name)
        logger.setLevel(lowest)
        logger.addHandler(handler)
        logger.propagate = False


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES}
        fields.pop("color_message", None)
        return line + "".join(f" {name}={value!r}" for name, value in fields.items())
