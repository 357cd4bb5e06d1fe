"""A child process that moves a store to another folder, and kills itself on the way.

    python -m tests.crash.migrating SOURCE TARGET STATE N

It is killed when N records were copied, between a batch that is durable and the note of it. If it comes to its end
before, it prints `done`, and the number of records that it copied.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from super_advanced_agents.tenancy.migration import Migration


def main() -> None:
    """Move the store."""
    source, target, state, moment = sys.argv[1:]
    copied = 0

    def on_records(count: int) -> None:
        nonlocal copied
        copied += count
        if int(moment) and copied >= int(moment):
            os.kill(os.getpid(), signal.SIGKILL)

    migration = Migration(source, target, Path(state), on_step=lambda step, total: None, on_records=on_records)
    migrated = asyncio.run(migration.arun())
    assert migrated.equal
    print("done", migrated.parts["memories"].copied)


if __name__ == "__main__":
    main()
