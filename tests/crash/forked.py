"""A process that forks while it has a store open; prints what the child and the parent could do.

python forked.py FOLDER
"""

from __future__ import annotations

import os
import sys
import warnings

import numpy as np

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import SuperAdvancedAgentsError


def _print_line(line: str) -> None:
    """Write a line in one piece, since `print` may write it in two and another process between them."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def main() -> None:
    """Fork, call everything in the child, and go on in the parent."""
    warnings.simplefilter("ignore", DeprecationWarning)  # the test forks beside threads on purpose
    store = FAISSVectorStore(4, sys.argv[1])
    store.add(np.ones(4), None, "x")
    child = os.fork()
    if child == 0:
        for call in (lambda: store.add(np.ones(4)), store.count, lambda: store.search(np.ones(4)), store.__enter__):
            try:
                call()
                _print_line("worked")
            except SuperAdvancedAgentsError as exc:
                _print_line(f"{type(exc).__name__} {'forked' in str(exc)}")
        store.close()
        sys.stdin.readline()  # outlives its parent
        sys.exit(0)  # the ordinary way out, with whatever cleaning up that does
    store.add(np.ones(4), None, "y")
    _print_line(f"parent {store.count()}")
    sys.stdin.readline()


if __name__ == "__main__":
    main()
