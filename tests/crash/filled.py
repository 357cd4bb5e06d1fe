"""A child process that adds rows of 384 numbers, then waits to be killed.

    python -m tests.crash.filled FOLDER ROWS

It prints `filled` when all were acknowledged, and `sealed` when no full buffer of them is left in the tail.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from super_advanced_agents import FAISSVectorStore

DIM = 384
_BATCH = 1_000
_EXACT_ROWS = 16_384
_BUFFER_ROWS = 4_096


def main() -> None:
    """Add rows, then wait."""
    rows = int(sys.argv[2])
    rng = np.random.default_rng(1)
    with FAISSVectorStore(DIM, sys.argv[1]) as store:
        for start in range(0, rows, _BATCH):
            names = [f"{i:06d}" for i in range(start, start + _BATCH)]
            store.add_batch(rng.standard_normal((_BATCH, DIM), dtype=np.float32), [{"n": n} for n in names], names)
        print("filled", flush=True)
        while rows > _EXACT_ROWS and int(str(store.stats()["tail_rows"])) >= _BUFFER_ROWS:
            time.sleep(0.2)
        print("sealed", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
