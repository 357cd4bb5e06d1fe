"""The configuration that an MCP client needs to connect to this server."""

from __future__ import annotations

import json
from pathlib import Path

NAME = "super-advanced-agents"
PATH = "/mcp"
_PLACEHOLDER = "YOUR-KEY"


def client_configuration(url: str, key: str | None = None, *, auth: bool = True) -> str:
    """Return JSON to paste into an MCP client, which then connects to a running server.

    Args:
        url: the server's URL, such as `"http://127.0.0.1:8000"`.
        key: an API key; None for a placeholder.
        auth: False if the server runs without authentication, so that no key is needed.
    """
    server: dict[str, object] = {"type": "http", "url": url.rstrip("/") + PATH}
    if auth:
        server["headers"] = {"Authorization": f"Bearer {_PLACEHOLDER if key is None else key}"}
    return _json(server)


def program_configuration(url: str | None, *, data_dir: Path, agent: str) -> str:
    """Return JSON to paste into an MCP client, which then starts the server `saa mcp` itself.

    Args:
        url: the URL of a running server that `saa mcp` connects to; None to open the data folder.
        data_dir: the data folder.
        agent: the name of the agent whose memory the tools use.
    """
    source = ["--data-dir", str(data_dir.absolute())] if url is None else ["--url", url]
    server: dict[str, object] = {"command": "saa", "args": ["mcp", *source, "--agent", agent]}
    if url is not None:
        server["env"] = {"SAA_API_KEY": _PLACEHOLDER}
    return _json(server)


def _json(server: dict[str, object]) -> str:
    return json.dumps({"mcpServers": {NAME: server}}, indent=2)
