"""The loggers of the library; only the server configures log output.

Event names are dotted (`store.rebuild`), fields travel as `extra`. No texts, vectors, prompts or keys above DEBUG.
"""

from __future__ import annotations

import logging

_ROOT = "super_advanced_agents"


def get_logger(area: str) -> logging.Logger:
    """Return the package's logger for one area of the code, such as `"store"`."""
    return logging.getLogger(f"{_ROOT}.{area}")


logging.getLogger(_ROOT).addHandler(logging.NullHandler())
