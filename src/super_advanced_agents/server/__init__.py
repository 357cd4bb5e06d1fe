"""The server process: REST, gRPC and MCP, with authentication, rate limits and idempotency.

Wire formats belong to `protocol/`, and the agents and collections of each tenant belong to `tenancy/`.
"""
