"""A child process that adds rows of 384 numbers, then waits to be killed.

python -m tests.crash.filled FOLDER ROWS

It prints `filled` when all were told, and `sealed` when the background has nothing to do any more.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from super_advanced_agents import FAISSVectorStore

DIM = 384
_BATCH = 1_000


def main() -> None:
    """Add, then wait."""
    rows = int(sys.argv[2])
    rng = np.random.default_rng(1)
    with FAISSVectorStore(DIM, sys.argv[1]) as store:
        for start in range(0, rows, _BATCH):
            names = [f"{i:06d}" for i in range(start, start + _BATCH)]
            store.add_batch(rng.standard_normal((_BATCH, DIM), dtype=np.float32), [{"n": n} for n in names], names)
        print("filled", flush=True)
        before = None
        while before != (before := {name: store.stats()[name] for name in ("segments", "tail_rows")}):
            time.sleep(5.0 if rows > 16_384 else 0.1)
        print("sealed", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
