"""How a server's process writes its log: one line a record, to standard error."""

from __future__ import annotations

import logging
import sys

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def configure_logging(level: str) -> None:
    """Send the library's and uvicorn's records to standard error. Only a server's process calls this."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines("{asctime} {levelname:<7} {name} {message}", style="{"))
    for name, least in (("super_advanced_agents", level), ("uvicorn", "WARNING")):
        logger = logging.getLogger(name)
        logger.setLevel(least)
        logger.addHandler(handler)
        logger.propagate = False


class _Lines(logging.Formatter):
    """Time, level, area, event, then the fields it was logged with."""

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        line = super().format(record)
        fields = {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}
        fields.pop("color_message", None)
        return line + "".join(f" {name}={value!r}" for name, value in fields.items())
