"""Requests that are sent at once, from a process of its own: `python -m tests.load.burst < plan`.

A plan is JSON: `host`, `port`, `key`, `method`, `path`, `body` (or null) and `count`. It prints the answers by status.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

SETTLE_S = 0.5
READ_BYTES = 2**18


async def _ask(plan: dict[str, str], begun: asyncio.Event) -> int:
    reader, writer = await asyncio.open_connection(plan["host"], int(plan["port"]))
    await begun.wait()
    body = (plan["body"] or "").encode()
    head = f"{plan['method']} {plan['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    head += f"Authorization: Bearer {plan['key']}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}\r\n".encode() + body)
    status = int((await reader.readline()).split()[1])
    while await reader.read(READ_BYTES):
        pass
    writer.close()
    return status


async def _run(plan: dict[str, str]) -> Counter[int]:
    begun = asyncio.Event()
    asking = [asyncio.create_task(_ask(plan, begun)) for _ in range(int(plan["count"]))]
    await asyncio.sleep(SETTLE_S)
    begun.set()
    return Counter(await asyncio.gather(*asking))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(json.load(sys.stdin)))))
