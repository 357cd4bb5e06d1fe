"""Calls of other servers: OpenAI-compatible ones, their choice, proxies, a circuit breaker.

Clients of this project's own server belong in `client/`.
"""
