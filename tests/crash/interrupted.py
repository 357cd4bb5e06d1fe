"""A child process that adds until it is interrupted, and logs a line for each acknowledged uid.

python interrupted.py FOLDER LOG sync|async
"""

from __future__ import annotations

import asyncio
import os
import sys

import numpy as np

from super_advanced_agents import FAISSVectorStore


def main() -> None:
    """Add until Ctrl-C."""
    log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with FAISSVectorStore(4, sys.argv[1]) as store:
        store.count()
        print("ready", flush=True)
        if sys.argv[3] == "sync":
            while True:
                for uid in store.add_batch(np.ones((5, 4))):
                    os.write(log, f"{uid}\n".encode())
        asyncio.run(_add_together(store, log))


async def _add_together(store: FAISSVectorStore, log: int) -> None:
    async def add() -> None:
        while True:
            uid = await store.aadd(np.ones(4))
            os.write(log, f"{uid}\n".encode())

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(add())


if __name__ == "__main__":
    main()
