"""What to paste into an MCP client so that it finds this server."""

from __future__ import annotations

import json

NAME = "super-advanced-agents"
PATH = "/mcp"
_PLACEHOLDER = "YOUR-KEY"


def client_configuration(url: str, key: str | None = None, *, auth: bool = True) -> str:
    """The configuration of an MCP client for a running server, as JSON to copy.

    Args:
        url: the server's, such as `"http://127.0.0.1:8000"`.
        key: an API key; a placeholder stands for it when None.
        auth: whether the server wants a key at all.
    """
    server: dict[str, object] = {"type": "http", "url": url.rstrip("/") + PATH}
    if auth:
        server["headers"] = {"Authorization": f"Bearer {_PLACEHOLDER if key is None else key}"}
    return json.dumps({"mcpServers": {NAME: server}}, indent=2)
