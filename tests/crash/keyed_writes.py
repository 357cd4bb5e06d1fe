"""A child process that serves, and that can stop for good between a write's commit and its reply.

    python -m tests.crash.keyed_writes FOLDER free|stuck

It prints its URL; with `stuck` it prints `committed` after each write with a key, and never sends the reply.
"""

from __future__ import annotations

import asyncio
import sys

from super_advanced_agents.server.idempotency.request_store import EndAttempt, SaveReply
from super_advanced_agents.server.idempotency.results import Idempotency
from super_advanced_agents.server.main import ServerAddresses, serve
from super_advanced_agents.tenancy.settings import Settings

NOWHERE = "http://127.0.0.1:9/v1"


async def _never_reply(requests: Idempotency, step: SaveReply | EndAttempt) -> None:
    del requests, step
    print("committed", flush=True)
    await asyncio.Event().wait()


def _print_url(at: ServerAddresses) -> None:
    print(at.rest, flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "stuck":
        # No public hook lies between the commit and the stored reply.
        Idempotency._finish = _never_reply  # type: ignore[method-assign]
    serve(
        Settings.load(
            data_dir=sys.argv[1],
            port=0,
            grpc_port=0,
            auth=False,
            embedding_base_url=NOWHERE,
            embedding_dim=4,
            generation_base_url=NOWHERE,
        ),
        on_listening=_print_url,
    )
