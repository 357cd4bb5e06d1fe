"""Ports for programs that have to be told theirs before they listen."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

_OURS = range(10_000, 20_000)
"""Below those that systems give to outgoing connections, and to the Milvus servers of the tests."""

_chance = random.SystemRandom()  # Hypothesis seeds the other one alike in every test process


def free_port() -> int:
    """Return a port on which nothing listens, and which no outgoing connection of any process will take."""
    while True:
        port = _chance.choice(_OURS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
