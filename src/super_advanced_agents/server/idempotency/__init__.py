"""Idempotency of writes: requests sent with an `Idempotency-Key`, and stored replies.

The middleware that reads the header belongs to `server/http/middleware/`.
"""
