"""The Model Context Protocol (MCP): an agent's memory as tools, over HTTP and stdio.

The command `saa mcp` belongs to `cli/`, and what the tools do with memories belongs to `agents/`.
"""
