"""What one caller may take: permits with bounded queues, and the rate limits of keys and tenants.

Limits on the size of a value belong to `config.Limits`, which the library itself checks.
"""
