"""Idempotent writes: a request that repeats an `Idempotency-Key` gets the stored reply.

The middleware that reads the header belongs to `server/http/middleware/`.
"""
