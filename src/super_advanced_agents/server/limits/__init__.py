"""Limits on requests: permits to run concurrently, and rate limits of keys and tenants.

Limits on the size of a value belong to `config.Limits`, which the library itself checks.
"""
