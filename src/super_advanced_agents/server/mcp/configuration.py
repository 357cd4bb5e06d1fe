"""What to paste into an MCP client so that it finds this server."""

from __future__ import annotations

import json
from pathlib import Path

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
    return _json(server)


def program_configuration(url: str | None, *, data_dir: Path, agent: str) -> str:
    """The configuration of an MCP client that starts `saa mcp` itself, as JSON to copy.

    Args:
        url: of a running server that the program should use; the data folder when None.
        data_dir: that folder.
        agent: whose memory it is.
    """
    where = ["--data-dir", str(data_dir.absolute())] if url is None else ["--url", url]
    server: dict[str, object] = {"command": "saa", "args": ["mcp", *where, "--agent", agent]}
    if url is not None:
        server["env"] = {"SAA_API_KEY": _PLACEHOLDER}
    return _json(server)


def _json(server: dict[str, object]) -> str:
    return json.dumps({"mcpServers": {NAME: server}}, indent=2)
