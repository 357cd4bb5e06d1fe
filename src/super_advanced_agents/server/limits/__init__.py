"""Limits on callers: permits with bounded queues, and rate limits of keys and tenants.

Limits on the size of a value belong to `config.Limits`, which the library itself checks.
"""
