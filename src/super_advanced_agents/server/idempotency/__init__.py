"""Writes with an `Idempotency-Key`: requests under way, and the answers that are replayed.

The middleware that reads the header belongs to `server/http/middleware/`.
"""
