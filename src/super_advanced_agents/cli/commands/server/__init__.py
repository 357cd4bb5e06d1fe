"""Commands that serve, or manage a server's own data: serve, worker, mcp, keys, jobs."""
